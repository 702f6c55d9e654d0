package server

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"zproxy/config"
)

// secrets looks at who may read the files with keys.
func (k *checker) secrets() {
	k.adminSecrets()
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
		if a := l.TLS.ACME; a != nil {
			k.secret(a.Pos, key+".acme.external_account.key", a.ExternalKey)
		}
		for j, name := range l.TLS.ECHKeys {
			k.secret(l.Pos, key+".ech_keys["+strconv.Itoa(j)+"]", name)
		}
	}
	for i := range k.cfg.Upstreams {
		u := &k.cfg.Upstreams[i]
		if u.TLS != nil && u.TLS.Client != nil {
			k.secret(u.Pos, "upstreams."+u.Name+".tls.certificate.key", u.TLS.Client.Key)
		}
		if u.Sticky != nil {
			k.secret(u.Pos, "upstreams."+u.Name+".sticky.secret_file", u.Sticky.SecretFile)
		}
		if u.Discover == nil || u.Discover.Consul == nil {
			continue
		}
		c, key := u.Discover.Consul, "upstreams."+u.Name+".discover.consul."
		k.secret(u.Discover.Pos, key+"token_file", c.TokenFile)
		if c.TLS != nil && c.TLS.Client != nil {
			k.secret(u.Discover.Pos, key+"tls.certificate.key", c.TLS.Client.Key)
		}
	}
	for _, f := range k.cfg.FilterFiles() {
		if f.Secret {
			k.secret(f.Pos, f.Key, f.Name)
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
		if l.TLS.ACME != nil {
			for _, group := range l.TLS.ACME.Groups() {
				for _, name := range group {
					names[name] = true
				}
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

// authorities looks at where their certificates are to be kept, and whether their challenges are answered; it asks
// none of them.
func (k *checker) authorities() {
	plain := false
	for i := range k.cfg.Listeners {
		plain = plain || k.cfg.Listeners[i].TLS == nil
	}
	for i := range k.cfg.Listeners {
		l := &k.cfg.Listeners[i]
		if l.TLS == nil || l.TLS.ACME == nil {
			continue
		}
		a, key := l.TLS.ACME, "listeners["+strconv.Itoa(i)+"].tls.acme"
		if a.Challenge == "http-01" && !plain {
			k.warn(a.Pos, key+".challenge", strconv.Quote(a.Challenge)+" where all listeners have tls", "a listener without, on port 80", "tls-alpn-01 does without")
		}
		// The folder itself is made when it is needed, in the nearest that there is.
		storage := k.cfg.Path(a.Storage)
		at := storage
		info, err := os.Stat(at)
		for err != nil && filepath.Dir(at) != at {
			at = filepath.Dir(at)
			info, err = os.Stat(at)
		}
		switch {
		case err == nil && !info.IsDir():
			k.fail(a.Pos, key+".storage", a.Storage, "a folder, or a name for one to be made", at+" is a file")
		case unix.Access(at, unix.W_OK) != nil:
			k.warn(a.Pos, key+".storage", strconv.Quote(a.Storage)+" in "+at+", which may not be written", "a folder for the user zproxy runs as", "mkdir -p -m 700 "+storage+" and chown it; under systemd StateDirectory=zproxy makes /var/lib/zproxy")
		case at == storage && info.Mode().Perm()&0o077 != 0:
			k.warn(a.Pos, key+".storage", strconv.Quote(a.Storage)+" with mode "+fs.FileMode(info.Mode().Perm()).String(), "a folder for its owner alone", "chmod 700 "+storage)
		}
	}
}
