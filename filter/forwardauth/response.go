package forwardauth

import (
	"bytes"

	"zproxy/filter"
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

// tells are the fields of a response that refuses which its client gets.
var tells = func() (names [proto.TokenCount]*filter.Name) {
	for _, t := range [...]proto.Token{proto.TokenWWWAuthenticate, proto.TokenLocation, proto.TokenSetCookie, proto.TokenRetryAfter} {
		n := filter.NewName(t.String())
		names[t] = &n
	}
	return names
}()

// take notes what a head says.
func (r *response) take(h *proto.Head, cfg *Config) {
	r.status, r.kept = h.Status, h.KeepAlive
	for i := range h.Fields {
		f := &h.Fields[i]
		value := bytes.Clone(h.Bytes(f.Value))
		if n := tells[f.Token]; n != nil {
			r.told = append(r.told, verify.Field{Name: n, Value: value})
		}
		if f.Token == proto.TokenCacheControl && bytes.Contains(bytes.ToLower(value), []byte("no-store")) {
			r.noStore = true
		}
		for _, n := range cfg.Take {
			if n.Names(h, f) {
				r.taken = append(r.taken, verify.Field{Name: n, Value: value})
			}
		}
		if cfg.NameField != nil && cfg.NameField.Names(h, f) {
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
