package snapshot

import (
	"bytes"

	"zproxy/config"
	"zproxy/proto"
	"zproxy/upstream"
)

// Key says what of a request to an upstream that balances by key is its key. Of the names one
// at most is set; none: it is the path, or with Source the client's address.
type Key struct {
	Header, Cookie, Query string
	Source                bool
}

func compileKey(u *config.Upstream) *Key {
	switch part, name := u.KeyOf(); part {
	case "header":
		return &Key{Header: name}
	case "cookie":
		return &Key{Cookie: name}
	case "query":
		return &Key{Query: name}
	case "path":
		return &Key{}
	case "source":
		return &Key{Source: true}
	}
	return nil
}

// Hash is the hash of the key of the request with head h, whose path has been routed as path;
// 0: it has none.
func (k *Key) Hash(h *proto.Head, path []byte) uint64 {
	switch {
	case k.Query != "":
		v, ok := queryValue(h.Bytes(h.Query), k.Query)
		if !ok || len(v) == 0 {
			return 0
		}
		return upstream.HashKey(v)
	case k.Header == "" && k.Cookie == "":
		return upstream.HashKey(path)
	}
	v, ok := fieldValue(h, k.Header, k.Cookie)
	if !ok {
		return 0
	}
	return upstream.HashKey(v)
}

// queryValue finds the first value of a name in a query as forms write it, not decoded.
func queryValue(query []byte, name string) (value []byte, ok bool) {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte{'&'})
		key, value, ok := bytes.Cut(pair, []byte{'='})
		if ok && string(key) == name {
			return value, true
		}
	}
	return nil, false
}

// fieldValue is the first value, which is not empty, of the field with this name, or of the cookie.
func fieldValue(h *proto.Head, header, cookie string) (v []byte, ok bool) {
	for i := range h.Fields {
		f := &h.Fields[i]
		v, ok = h.Bytes(f.Value), false
		switch {
		case header != "":
			ok = int(f.Name.Len) == len(header) && bytes.EqualFold(h.Bytes(f.Name), []byte(header))
		case f.Token == proto.TokenCookie:
			v, ok = cookieValue(v, cookie)
		}
		if ok && len(v) > 0 {
			return v, true
		}
	}
	return nil, false
}
