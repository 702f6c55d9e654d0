package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// A process that Landlock restricts to the directories its configuration names reads its certificates
// and its configuration again, opens logs and sockets where it may, says what it may not where it is
// asked, and is upgraded; so is the process that comes of that.
func TestLandlock(t *testing.T) {
	if version, err := ll.LandlockGetABIVersion(); err != nil || version < 1 {
		t.Skip("the kernel has no Landlock: boot Linux 5.13 or newer with landlock in lsm=")
	}
	besides(t, func(t *testing.T, backend string) {
		ca := newAuthority(t, "ca", nil)
		pair := ca.issue(t, "ecdsa", nil, "a.example")
		logs, more, outside := t.TempDir(), t.TempDir(), t.TempDir()
		secret := writeFile(t, filepath.Join(outside, "page.html"), "secret")
		const text = "listeners: [{address: LISTEN}, {address: %q, tls: {certificates: [{cert: %q, key: %q}]}}%s]\nroutes: [{path: \"/*\", respond: {body: ok}}]\n" +
			"landlock: {read: [%q], write: [%q]}\naccess_log: {path: %q}\n%s"
		secure := freeAddr(t)
		config := func(log, pages, listener string) string {
			return fmt.Sprintf(text, secure, pair.cert, pair.key, listener, more, more, log, pages)
		}
		l := startLineage(t, backend, config(filepath.Join(logs, "a.log"), "", ""))
		reload := func(log, pages, listener string) (says string, done bool) {
			t.Helper()
			head, _, _ := strings.Cut(l.config, "listeners:")
			writeFile(t, l.file, head+strings.Replace(config(log, pages, listener), "LISTEN", l.addr, 1))
			out, err := exec.Command(zproxyBin, "reload", "-admin", l.admin).CombinedOutput()
			return string(out), err == nil
		}
		works := func() {
			t.Helper()
			page := writeFile(t, filepath.Join(more, "page.html"), "gone")
			if says, done := reload(filepath.Join(more, "b.log"), fmt.Sprintf("error_pages: {404: %q}\n", page), fmt.Sprintf(", {address: \"unix:%s/z.sock\"}", more)); !done {
				t.Fatalf("what is within is refused: %s", says)
			}
			c, err := net.Dial("unix", filepath.Join(more, "z.sock"))
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			for _, no := range []struct{ log, pages, listener, says string }{
				{outside, "", "", "access_log.path: found"},
				{logs, fmt.Sprintf("error_pages: {404: %q}\n", secret), "", "Landlock leaves this process"},
				{logs, "", fmt.Sprintf(", {address: \"unix:%s/z.sock\"}", outside), "listeners[2].address: found"},
			} {
				if says, done := reload(filepath.Join(no.log, "a.log"), no.pages, no.listener); done || !strings.Contains(says, no.says) {
					t.Errorf("what is outside: taken %v, %s; want it to say %s", done, says, no.says)
				}
			}
			if left, _ := os.ReadDir(outside); len(left) != 1 {
				t.Errorf("outside there is now %v", left)
			}
			if says, done := reload(filepath.Join(logs, "a.log"), "", ""); !done {
				t.Fatalf("it does not take the first one again: %s", says)
			}
			if got := get(t, l.url("/")); got != "ok" {
				t.Errorf("it answers %q", got)
			}
		}
		works()
		l.mustUpgrade(t)
		works()
		l.mustUpgrade(t)
		l.ends(t)
	})
}
