package kubernetes

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zproxy/config"
	"zproxy/internal/tlstest"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	cert, key := tlstest.PEM(t, tlstest.Certificate(t, "ecdsa"))
	write(t, filepath.Join(dir, "cert.pem"), string(cert))
	write(t, filepath.Join(dir, "key.pem"), string(key))
	write(t, filepath.Join(dir, "token"), "from a file\n")
	b64 := base64.StdEncoding.EncodeToString
	const server = "server: 'https://10.0.0.1:6443/'"
	for _, c := range []struct {
		what, cluster, user, context, wrong string
		bearer                              string
		certs                               int
		namespace                           string
	}{
		{what: "a token", cluster: server, user: "token: abc", bearer: "Bearer abc", namespace: "default"},
		{what: "a namespace", cluster: server, user: "token: abc", context: ", namespace: ns", bearer: "Bearer abc", namespace: "ns"},
		{what: "a token in a file", cluster: server, user: "tokenFile: token", bearer: "Bearer from a file", namespace: "default"},
		{what: "a certificate in files", cluster: server + ", certificate-authority: cert.pem", user: "client-certificate: cert.pem, client-key: key.pem", certs: 1, namespace: "default"},
		{what: "a certificate as it is", cluster: server + ", certificate-authority-data: " + b64(cert), user: "client-certificate-data: " + b64(cert) + ", client-key-data: " + b64(key), certs: 1, namespace: "default"},
		{what: "nobody", cluster: server, namespace: "default"},
		{what: "exec", cluster: server, user: "exec: {command: aws}", wrong: "exec: no programs are started"},
		{what: "auth-provider", cluster: server, user: "auth-provider: {name: gcp}", wrong: "auth-provider:"},
		{what: "a password", cluster: server, user: "username: u, password: p", wrong: "no passwords"},
		{what: "impersonation", cluster: server, user: "token: abc, as: root", wrong: "as: requests"},
		{what: "a proxy", cluster: server + ", proxy-url: 'http://p'", wrong: "proxy-url"},
		{what: "no server", cluster: "insecure-skip-tls-verify: true", wrong: "the server is"},
		{what: "half a certificate", cluster: server, user: "client-certificate: cert.pem", wrong: "client-certificate and client-key"},
		{what: "no such file", cluster: server + ", certificate-authority: none.pem", wrong: "no such file"},
		{what: "no authority", cluster: server + ", certificate-authority: key.pem", wrong: "no certificate in it"},
		{what: "no Base64", cluster: server + ", certificate-authority-data: '?'", wrong: "certificate-authority-data"},
		{what: "no token in a file", cluster: server, user: "tokenFile: none", wrong: "no such file"},
	} {
		path := write(t, filepath.Join(dir, "config"), fmt.Sprintf(`
apiVersion: v1
kind: Config
preferences: {}
clusters: [{name: other, cluster: {server: "https://other"}}, {name: c, cluster: {%s}}]
users: [{name: u, user: {%s}}]
contexts: [{name: x, context: {cluster: c, user: u%s}}, {name: y, context: {cluster: none, user: u}}]
current-context: x
`, c.cluster, c.user, c.context))
		a, err := accessFor(&config.DiscoverKubernetes{Kubeconfig: path})
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: got %v, expected an error with %q", c.what, err, c.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if bearer, err := a.bearer(); err != nil || bearer != c.bearer || len(a.tls.Certificates) != c.certs || a.namespace != c.namespace || a.url != "https://10.0.0.1:6443" {
			t.Errorf("%s: got %q, %v and %+v", c.what, bearer, err, a)
		}
	}
	path := filepath.Join(dir, "config")
	for context, wrong := range map[string]string{"y": `no context "y" with a cluster`, "none": `no context "none"`} {
		if err := Check(&config.DiscoverKubernetes{Kubeconfig: path, Context: context}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("context %s: %v", context, err)
		}
	}
	for text, wrong := range map[string]string{"a: [": "line", "{}": "no current-context"} {
		if err := Check(&config.DiscoverKubernetes{Kubeconfig: write(t, path, text)}); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if files := Files(&config.DiscoverKubernetes{Kubeconfig: path}); !slices.Equal(files, []string{path}) {
		t.Errorf("its files are %v", files)
	}
}

// A pod has its service account's credentials in a folder, and its token is replaced now and then.
func TestInCluster(t *testing.T) {
	dir := t.TempDir()
	if err := Check(&config.DiscoverKubernetes{}); err == nil || !strings.Contains(err.Error(), "kubeconfig is needed") {
		t.Errorf("outside of a cluster: %v", err)
	}
	steps := []step{list("7", "", sliceOf("a", "1", "10.0.0.1")), watch(bookmark("8")), watch(eventOf("ADDED", sliceOf("b", "9", "10.0.0.2")), "HOLD")}
	scripted := &server{steps: steps}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(scripted.ServeHTTP))
	secure.TLS = &tls.Config{}
	secure.StartTLS()
	defer secure.Close()
	defer secure.CloseClientConnections()
	at, err := url.Parse(secure.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", at.Hostname())
	t.Setenv("KUBERNETES_SERVICE_PORT", at.Port())
	if _, err := inCluster(dir); err == nil || !strings.Contains(err.Error(), "automountServiceAccountToken") {
		t.Errorf("without credentials: %v", err)
	}
	write(t, filepath.Join(dir, "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	write(t, filepath.Join(dir, "namespace"), "ns\n")
	token := write(t, filepath.Join(dir, "token"), "one")
	to := run(t, scripted, func(s *source) {
		s.access = func() (*access, error) {
			a, err := inCluster(dir)
			write(t, token, "two") // from the second attempt on; the first has it for its first request at most
			return a, err
		}
	})
	to.has(t, "10.0.0.1:80", "10.0.0.2:80")
	if errs := to.failed(); len(errs) > 0 {
		t.Errorf("it fails: %v", errs)
	}
	scripted.mu.Lock()
	defer scripted.mu.Unlock()
	if scripted.tokens[2] != "Bearer two" {
		t.Errorf("the tokens were %v", scripted.tokens)
	}
}
