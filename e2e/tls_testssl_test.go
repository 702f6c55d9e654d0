package e2e

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zproxy/internal/longtest"
)

// accepted are findings of testssl.sh that are not the proxy's: by their ids, with the reason.
var accepted = map[string]string{
	"cert_revocation":  "the test's authority has no address where it could be asked",
	"security_headers": "they are the application's",
	"engine_problem":   "GOST, which openssl does not have here and nobody offers",
}

// On one backend, because it takes minutes: testssl.sh finds nothing of medium severity or worse.
func TestLengthyTLSTestssl(t *testing.T) {
	longtest.Need(t)
	need(t, "testssl")
	ca := newAuthority(t, "ca", nil)
	months := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(80 * 24 * time.Hour) }
	fast, slow := ca.issue(t, "ecdsa", months, "localhost"), ca.issue(t, "rsa", months, "localhost")
	z := startListening(t, backends[len(backends)-1], fmt.Sprintf(`{certificates: [{cert: %q, key: %q}, {cert: %q, key: %q}]}`, fast.cert, fast.key, slow.cert, slow.key))
	_, port, _ := net.SplitHostPort(z.addr)
	file := filepath.Join(t.TempDir(), "findings.json")
	// All that finds something, but neither each of 370 ciphers by itself nor how other clients would fare.
	p := spawn(t, "testssl", "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--assume-http",
		"-p", "-s", "-f", "-P", "-S", "-h", "-U", "--add-ca", ca.file, "--jsonfile", file, "--ip", "127.0.0.1", "localhost:"+port)
	p.wait(t, 10*time.Minute) // its status counts findings
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	var findings []struct{ ID, Severity, Finding string }
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	count := map[string]int{}
	for _, f := range findings {
		count[f.Severity]++
		switch f.Severity {
		case "OK", "INFO", "DEBUG":
			continue
		case "LOW":
			t.Logf("%s, %s: %s", f.ID, f.Severity, f.Finding)
			continue
		}
		id, _, _ := strings.Cut(f.ID, " ") // behind it stands which certificate
		if why := accepted[id]; why != "" {
			t.Logf("%s, %s: %s (%s)", f.ID, f.Severity, f.Finding, why)
			continue
		}
		t.Errorf("%s, %s: %s", f.ID, f.Severity, f.Finding)
	}
	t.Logf("%d findings: %v", len(findings), count)
	if count["OK"] < 40 {
		t.Errorf("testssl.sh has found little:\n%s", p.out.String())
	}
}
