package server

import (
	"io/fs"
	"os"
	"strconv"
	"strings"

	"zproxy/config"
)

// secrets looks at who may read the files with keys.
func (k *checker) secrets() {
	for i := range k.cfg.Listeners {
		l := &k.cfg.Listeners[i]
		if l.TLS == nil {
			continue
		}
		key := "listeners[" + strconv.Itoa(i) + "].tls"
		for j := range l.TLS.Certificates {
			c := &l.TLS.Certificates[j]
			k.secret(c.Pos, key+".certificates["+strconv.Itoa(j)+"].key", c.Key)
		}
		k.secret(l.Pos, key+".ticket_keys", l.TLS.TicketKeys)
		for j, name := range l.TLS.ECHKeys {
			k.secret(l.Pos, key+".ech_keys["+strconv.Itoa(j)+"]", name)
		}
	}
	for i := range k.cfg.Upstreams {
		if u := &k.cfg.Upstreams[i]; u.TLS != nil && u.TLS.Client != nil {
			k.secret(u.Pos, "upstreams."+u.Name+".tls.certificate.key", u.TLS.Client.Key)
		}
	}
}

// secret warns of a file that others than its owner and his group may read or write.
func (k *checker) secret(at config.Pos, key, name string) {
	if name == "" {
		return
	}
	path := k.cfg.Path(name)
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		k.warn(at, key, strconv.Quote(name)+" with mode "+fs.FileMode(info.Mode().Perm()).String(), "a key that others may not read", "chmod o= "+path)
	}
}

// hosts looks for hosts of routes that no certificate of a listener is for: clients
// that check it do not get that far.
func (k *checker) hosts() {
	for i := range k.cfg.Listeners {
		l := &k.cfg.Listeners[i]
		if l.TLS == nil {
			continue
		}
		names := map[string]bool{}
		for j := range l.TLS.Certificates {
			pair, err := l.TLS.Certificates[j].Pair()
			if err != nil {
				return // proxy.Compile says so
			}
			for _, name := range config.LeafNames(pair.Leaf) {
				names[strings.ToLower(name)] = true
			}
		}
		said := map[string]bool{}
		for j := range k.cfg.Routes {
			r := &k.cfg.Routes[j]
			host := strings.Trim(strings.ToLower(r.Host), "[]")
			if host == "" || said[host] || r.Listener != "" && r.Listener != l.Address || certified(host, names) {
				continue
			}
			said[host] = true
			k.warn(r.Pos, "routes["+strconv.Itoa(j)+"].host", strconv.Quote(r.Host), "a name that a certificate of listener "+l.Address+" is for", "")
		}
	}
}

// certified says that one of names is for host, which may be a wildcard itself.
func certified(host string, names map[string]bool) bool {
	if names[host] {
		return true
	}
	dot := strings.IndexByte(host, '.')
	return dot > 0 && names["*"+host[dot:]]
}
