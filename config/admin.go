package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Admin is off when Address is empty.
type Admin struct {
	Pos     // of Address
	Address string
	Series  int // routes, and upstreams, that metrics tell apart
	File    SocketFile
	Tokens  []AdminToken
	TLS     *Certificate // nil: in clear
}

// AdminToken lets who knows it in at the admin address.
type AdminToken struct {
	Pos
	Name   string // of whom it is, for the log
	File   string // as written
	Access string // "read" or "write"
	Hashed bool   // the file holds the hash, not the token
	Sum    []byte // SHA-256 of the token; nil: the file was not read
}

// Loopback says that the address of a TCP port cannot be reached from other machines.
func (a *Admin) Loopback() bool {
	at, err := netip.ParseAddrPort(a.Address)
	return err == nil && at.Addr().IsLoopback()
}

func adminFields() []field {
	return append([]field{
		{key: "address", kind: kindText, required: true, want: wantListen, pattern: patternAddress, check: checkListen, at: at(func(a *Admin) *string { return &a.Address }),
			doc: "Where it listens: `ip:port`, `\"[ip6]:port\"` or `unix:/path`. Who may do what there is in [control.md](control.md#who-gets-in): a socket file is for whom its permissions say, a port on a loopback address without `tokens` only shows, and reloads."},
		{key: "tokens", kind: kindSections, max: 64, fields: adminTokenFields(),
			at:   at(func(a *Admin) *[]AdminToken { return &a.Tokens }),
			grow: grow(func(t *AdminToken, _ string, pos Pos) { t.Pos = pos }),
			zero: "nobody is asked for one",
			doc:  "Of an address that is a port: who is let in, by `Authorization: Bearer TOKEN`. Everything but `/healthz`, `/readyz` and the page at `/`, which holds no figures, then asks for one. On another address than a loopback one they need `tls`."},
		{key: "tls", kind: kindSection, optional: true, fields: certificateFields(),
			at:  at(func(a *Admin) *Certificate { a.TLS = new(Certificate); return a.TLS }),
			doc: "The certificate with its key by which an address that is a port speaks TLS (1.2 or later), and nothing else. A reload reads them again."},
		{key: "series", kind: kindCount, def: "100", max: 10000, at: at(func(a *Admin) *int { return &a.Series }),
			zero: "one for all of them",
			doc:  "How many routes, and how many upstreams, `/metrics` tells apart, in file order; the rest is counted together as `other`. Each is about 25 lines of the page, and 168 bytes per loop."},
	}, accessFields("0660", at(func(a *Admin) *SocketFile { return &a.File }))...)
}

func adminTokenFields() []field {
	return []field{
		{key: "name", kind: kindText, required: true, check: checkTokenName, want: wantTokenName, pattern: patternTokenName, at: at(func(t *AdminToken) *string { return &t.Name }),
			doc: "Of whom it is: the log names who has changed something by it."},
		{key: "file", kind: kindText, required: true, check: checkFile, want: wantFile, at: at(func(t *AdminToken) *string { return &t.File }),
			doc: "A file, relative to the configuration file, with one line: the token itself, of 16 characters or more, e.g. by `openssl rand -hex 32`, which only its owner may read (mode 0600); or `sha256:` and the SHA-256 of the token in hex. A reload reads it again."},
		{key: "access", kind: kindEnum, def: "read", enum: []string{"read", "write"}, at: at(func(t *AdminToken) *string { return &t.Access }),
			doc: "`read` shows, `write` changes as well."},
	}
}

const (
	wantTokenName    = "a name of letters, digits, and -._"
	patternTokenName = "^[A-Za-z0-9._-]{1,64}$"
	leastTokenBytes  = 16
	hashPrefix       = "sha256:"
)

func checkTokenName(text string, _ int64) (want, hint string) {
	if text == "" || len(text) > 64 || strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-._", r))
	}) {
		return wantTokenName, ""
	}
	return "", ""
}

// verifyAdmin checks what keys of the section mean together, and reads its files.
func (d *decoder) verifyAdmin(c *Config, n *yaml.Node, key *path) {
	a := &c.Admin
	at := posOf(child(n, "address"))
	port := !strings.HasPrefix(a.Address, "unix:")
	tokens := &path{up: key, key: "tokens"}
	for _, k := range []string{"tokens", "tls"} {
		if v := written(n, k); v != nil && !port {
			d.fail(v, &path{up: key, key: k}, shown(resolve(v)), "an address that is a port", "who may use "+a.Address+" is told by its file: mode, user and group")
		}
	}
	if port && !a.Loopback() {
		switch {
		case len(a.Tokens) == 0:
			d.warn(c, at, "admin.address", quote(a.Address), "a loopback address, a unix: socket, or tokens: it asks nobody for a password")
		case a.TLS == nil:
			d.fail(child(n, "tokens"), tokens, "tokens without tls", "tls beside them, or a loopback address", "they would pass the network in clear")
		}
	}
	if a.TLS != nil {
		d.certificate(c, a.TLS, resolve(child(n, "tls")), &path{up: key, key: "tls"})
	}
	list := resolve(child(n, "tokens"))
	for i := range a.Tokens {
		if i >= len(list.Content) {
			break
		}
		t, here, item := &a.Tokens[i], &path{up: tokens, index: i}, resolve(list.Content[i])
		for j := range a.Tokens[:i] {
			if a.Tokens[j].Name == t.Name {
				d.fail(child(item, "name"), &path{up: here, key: "name"}, quote(t.Name)+" a second time", "each name once", "first in admin.tokens["+strconv.Itoa(j)+"]")
			}
		}
		file := &path{up: here, key: "file"}
		data, ok := d.contentsOf(child(item, "file"), file, t.File)
		if !ok {
			continue
		}
		if why := t.read(bytes.TrimSpace(data)); why != "" {
			d.fail(child(item, "file"), file, quote(t.File)+", "+why, "a token of at least "+strconv.Itoa(leastTokenBytes)+" characters, or sha256: and its hash in hex", "openssl rand -hex 32")
		}
	}
}

// read takes the token out of what its file holds, or says why not.
func (t *AdminToken) read(text []byte) (why string) {
	if hash, ok := bytes.CutPrefix(text, []byte(hashPrefix)); ok {
		sum, err := hex.DecodeString(string(hash))
		if err != nil || len(sum) != sha256.Size {
			return "which has no hash of 64 hex digits"
		}
		t.Hashed, t.Sum = true, sum
		return ""
	}
	if len(text) < leastTokenBytes {
		return "of " + strconv.Itoa(len(text)) + " characters"
	}
	if bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "which is not one line of printable characters"
	}
	sum := sha256.Sum256(text)
	t.Sum = sum[:]
	return ""
}
