package kubernetes

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"zproxy/config"
	"zproxy/upstream/discover/api"
)

// serviceAccount is where a pod has the credentials of its service account.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// access is how the API server is reached, and who asks.
type access struct {
	url       string
	namespace string // "": none is said
	tls       *tls.Config
	token     string
	tokenFile string // read for each request, since tokens are replaced; "": see token
	files     []string
}

// bearer is the Authorization field.
func (a *access) bearer() (string, error) {
	token := a.token
	if a.tokenFile != "" {
		var err error
		if token, err = api.Token(a.tokenFile); err != nil {
			return "", err
		}
	}
	if token == "" {
		return "", nil
	}
	return "Bearer " + token, nil
}

// accessFor is what a configuration says, as its files are now.
func accessFor(c *config.DiscoverKubernetes) (*access, error) {
	var a *access
	var err error
	if c.Kubeconfig != "" {
		a, err = readKubeconfig(c.Kubeconfig, c.Context)
	} else {
		a, err = inCluster(serviceAccount)
	}
	if err != nil {
		return nil, err
	}
	if c.Namespace != "" {
		a.namespace = c.Namespace
	} else if a.namespace == "" {
		a.namespace = "default"
	}
	_, err = a.bearer()
	return a, err
}

// inCluster is that of the pod which this process runs in.
func inCluster(dir string) (*access, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as they are in a pod: outside of one kubeconfig is needed")
	}
	a := &access{url: "https://" + net.JoinHostPort(host, port), tokenFile: filepath.Join(dir, "token")}
	ca := filepath.Join(dir, "ca.crt")
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("%w (automountServiceAccountToken gives it to the pod)", err)
	}
	a.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if a.tls.RootCAs, err = authorities(ca, pem); err != nil {
		return nil, err
	}
	if text, err := os.ReadFile(filepath.Join(dir, "namespace")); err == nil {
		a.namespace = strings.TrimSpace(string(text))
	}
	a.files = []string{ca, a.tokenFile}
	return a, nil
}

func authorities(name string, pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in it", name)
	}
	return pool, nil
}

// Check says what is wrong with the credentials that a configuration names, as they are now.
func Check(c *config.DiscoverKubernetes) error {
	_, err := accessFor(c)
	return err
}

// Files are those that are read for c, as far as that can be told.
func Files(c *config.DiscoverKubernetes) []string {
	if c.Kubeconfig == "" {
		return []string{filepath.Join(serviceAccount, "token")}
	}
	files := []string{c.Kubeconfig}
	if a, err := accessFor(c); err == nil {
		files = append(files, a.files...)
	}
	return files
}

// serverURL is a server's address without a final slash.
func serverURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("the server is %q, expected https://host:port", text)
	}
	return strings.TrimSuffix(text, "/"), nil
}
