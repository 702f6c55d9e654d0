package forwardauth

import (
	"bytes"

	"zproxy/filter/verify"
	"zproxy/proto"
)

// response is what a server has said.
type response struct {
	status  uint16
	taken   []verify.Field // of Config.Take
	told    []verify.Field // for the client
	name    []byte
	noStore bool
	kept    bool // the connection may be used again
}

// tells says which fields of a response that refuses its client gets.
func tells(t proto.Token) bool {
	switch t {
	case proto.TokenWWWAuthenticate, proto.TokenLocation, proto.TokenSetCookie, proto.TokenRetryAfter:
		return true
	}
	return false
}

// take notes what a head says.
func (r *response) take(h *proto.Head, cfg *Config) {
	r.status, r.kept = h.Status, h.KeepAlive
	for i := range h.Fields {
		f := &h.Fields[i]
		value := bytes.Clone(h.Bytes(f.Value))
		if tells(f.Token) {
			r.told = append(r.told, verify.Field{Name: f.Token.String(), Value: value})
		}
		if f.Token == proto.TokenCacheControl && bytes.Contains(bytes.ToLower(value), []byte("no-store")) {
			r.noStore = true
		}
		for _, n := range cfg.Take {
			if bytes.EqualFold(h.Bytes(f.Name), []byte(n)) {
				r.taken = append(r.taken, verify.Field{Name: n, Value: value})
			}
		}
		if bytes.EqualFold(h.Bytes(f.Name), []byte(cfg.NameField)) {
			r.name = value
		}
	}
}

// verdict: 2xx lets a request go on, and what is the server's own trouble is no refusal. A status that the proxy does
// not respond with itself becomes 403.
func (r *response) verdict() *verify.Verdict {
	v := verify.Refuse(403, ReasonRefused).With(r.told)
	switch r.status {
	case 301, 302, 303, 307, 308, 401, 404, 407, 429:
		v.Status = r.status
		return v
	}
	switch r.status / 100 {
	case 2:
		return &verify.Verdict{Name: r.name, Fields: r.taken}
	case 3, 4:
		return v
	}
	return verify.Refuse(502, ReasonFailed)
}
