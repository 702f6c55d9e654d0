package server

import (
	"io/fs"
	"os"
	"strconv"

	"zproxy/config"
)

// adminSecrets looks at who may read the tokens of the admin address, and its key. A token that others than
// the owner of its file may read is refused, but for one that is only there as its hash.
func (k *checker) adminSecrets() {
	a := &k.cfg.Admin
	if a.TLS != nil {
		k.secret(a.Pos, "admin.tls.key", a.TLS.Key)
	}
	for i := range a.Tokens {
		t := &a.Tokens[i]
		path := k.cfg.Path(t.File)
		info, err := os.Stat(path)
		if err != nil || t.Hashed || info.Mode().Perm()&0o077 == 0 {
			continue
		}
		k.wrong = append(k.wrong, config.Error{
			File: k.cfg.File, Line: t.Line, Col: t.Col, Key: "admin.tokens[" + strconv.Itoa(i) + "].file",
			Value: strconv.Quote(t.File) + " with mode " + fs.FileMode(info.Mode().Perm()).String(),
			Want:  "a file that only its owner may read, or one with sha256: and the token's hash", Hint: "chmod 600 " + path,
		})
	}
}

// adminFiles are those that the section names.
func adminFiles(c *config.Config, file func(at config.Pos, key, path string)) {
	a := &c.Admin
	if a.TLS != nil {
		file(a.Pos, "admin.tls", c.Path(a.TLS.Cert))
		file(a.Pos, "admin.tls", c.Path(a.TLS.Key))
	}
	for i := range a.Tokens {
		file(a.Pos, "admin.tokens", c.Path(a.Tokens[i].File))
	}
}
