package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Gate says who gets in at an address that is a TCP port. A unix: socket has the permissions of its file.
type Gate struct {
	Tokens []Token
	TLS    *tls.Config // nil: in clear
}

// Token lets in who knows it.
type Token struct {
	Name  string
	Sum   [sha256.Size]byte // SHA-256 of it
	Write bool              // it may change something
}

// caller is who asks.
type caller struct {
	name  string // for the log
	write bool
	// open: nobody was asked who he is, as anybody on this machine may ask.
	open bool
}

// refusal is why a request is not served.
type refusal struct {
	status int
	why    string
}

type peerKey struct{}

// peerOf is the user behind a connection by a unix socket, for the context of its requests.
func peerOf(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	name := "uid unknown"
	if raw, err := u.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				name = "uid " + strconv.Itoa(int(cred.Uid))
			}
		})
	}
	return context.WithValue(ctx, peerKey{}, name)
}

// admit says who asks, or why he does not get in.
func (s *Server) admit(r *http.Request) (who caller, no *refusal) {
	if name, ok := r.Context().Value(peerKey{}).(string); ok {
		if isAnybodysName(r.Host) { // ssh forwards sockets to ports, and a browser may be there
			return who, &refusal{http.StatusForbidden, nameRefused(r.Host)}
		}
		return caller{name: name, write: true}, fromElsewhere(r)
	}
	g := s.src.Gate()
	if g == nil {
		g = new(Gate)
	}
	local := isLoopback(s.listener.Addr())
	if len(g.Tokens) == 0 {
		switch {
		case !local:
			return who, &refusal{http.StatusForbidden, "this address can be reached from other machines, and admin.tokens has none: set tokens and tls, or use a unix: socket"}
		case !namesThisMachine(r.Host):
			// A name of somebody else's may lead here (DNS rebinding), and the browser takes this for his page.
			return who, &refusal{http.StatusForbidden, nameRefused(r.Host)}
		}
		return caller{name: "loopback", open: true}, fromElsewhere(r)
	}
	if !local && r.TLS == nil {
		return who, &refusal{http.StatusForbidden, "tokens are taken by TLS only"}
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	t := match(g.Tokens, given)
	if !ok || t == nil {
		return who, &refusal{http.StatusUnauthorized, "Authorization: Bearer TOKEN is missing or wrong: admin.tokens says whose there are"}
	}
	return caller{name: "token " + t.Name, write: t.Write}, fromElsewhere(r)
}

// match takes as long whatever is given.
func match(tokens []Token, given string) (t *Token) {
	sum := sha256.Sum256([]byte(given))
	for i := range tokens {
		if subtle.ConstantTimeCompare(sum[:], tokens[i].Sum[:]) == 1 {
			t = &tokens[i]
		}
	}
	return t
}

// fromElsewhere refuses what a page of somebody else's in a browser asks for.
func fromElsewhere(r *http.Request) *refusal {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return &refusal{http.StatusForbidden, "a page from elsewhere may not ask for anything here"}
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return &refusal{http.StatusForbidden, "a page from elsewhere may not ask for anything here"}
	}
	return nil
}

// mayChange refuses who may not, and any page: a browser sends requests that nobody has seen.
func mayChange(r *http.Request, who caller) *refusal {
	switch {
	case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
		return &refusal{http.StatusForbidden, "a page in a browser may not change anything here"}
	case who.open:
		return &refusal{http.StatusForbidden, "anybody on this machine may ask here, and so nothing is changed: use an admin address that is a unix: socket, or set admin.tokens"}
	case !who.write:
		return &refusal{http.StatusForbidden, who.name + " may read only: access: write in admin.tokens lets it change something"}
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// namesThisMachine: an address in figures, or the one name that no resolver is asked for.
func namesThisMachine(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// isAnybodysName: a name with a dot, which may be in the DNS. Programs give a socket any name without one.
func isAnybodysName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Contains(host, ".") && !namesThisMachine(host)
}

func nameRefused(host string) string {
	return "ask for this address by its number or as localhost: " + strconv.Quote(host) + " may be anybody's name for it"
}

// gated is a listener that speaks TLS where its gate says so, which a reload may change.
type gated struct {
	net.Listener
	src Source
}

func (l gated) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, tcp := c.(*net.TCPConn); !tcp {
		return c, nil
	}
	if g := l.src.Gate(); g != nil && g.TLS != nil {
		return tls.Server(c, g.TLS), nil
	}
	return c, nil
}
