package kubernetes

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// kubeconfig is what of such a file is of use here, and what of it would be needed and is not done.
type kubeconfig struct {
	CurrentContext string `yaml:"current-context"`
	Clusters       []struct {
		Name    string
		Cluster cluster
	}
	Users []struct {
		Name string
		User user
	}
	Contexts []struct {
		Name    string
		Context struct{ Cluster, User, Namespace string }
	}
}

type cluster struct {
	Server        string
	CA            string `yaml:"certificate-authority"`
	CAData        string `yaml:"certificate-authority-data"`
	Insecure      bool   `yaml:"insecure-skip-tls-verify"`
	TLSServerName string `yaml:"tls-server-name"`
	ProxyURL      string `yaml:"proxy-url"`
}

type user struct {
	Token        string
	TokenFile    string `yaml:"tokenFile"`
	Cert         string `yaml:"client-certificate"`
	CertData     string `yaml:"client-certificate-data"`
	Key          string `yaml:"client-key"`
	KeyData      string `yaml:"client-key-data"`
	Username     string
	Exec         *yaml.Node
	AuthProvider *yaml.Node `yaml:"auth-provider"`
	As           string
}

// cannot says what of a user is not done, "": nothing.
func (u *user) cannot() string {
	switch {
	case u.Exec != nil:
		return "exec: no programs are started for credentials; make a service account's token and name it by token or tokenFile"
	case u.AuthProvider != nil:
		return "auth-provider: make a service account's token and name it by token or tokenFile"
	case u.Username != "":
		return "username: Kubernetes takes no passwords any more"
	case u.As != "":
		return "as: requests are made as the user alone"
	}
	return ""
}

// readKubeconfig is the access that a context of a kubeconfig file gives, "" for the current one.
func readKubeconfig(path, context string) (*access, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var k kubeconfig
	if err := yaml.Unmarshal(text, &k); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	a, err := k.access(path, context)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

func (k *kubeconfig) access(path, context string) (*access, error) {
	if context == "" {
		context = k.CurrentContext
	}
	if context == "" {
		return nil, errors.New("it has no current-context: name one by context")
	}
	a := new(access)
	var c *cluster
	var u *user
	for i := range k.Contexts {
		if k.Contexts[i].Name != context {
			continue
		}
		of := &k.Contexts[i].Context
		a.namespace = of.Namespace
		for j := range k.Clusters {
			if k.Clusters[j].Name == of.Cluster {
				c = &k.Clusters[j].Cluster
			}
		}
		for j := range k.Users {
			if k.Users[j].Name == of.User {
				u = &k.Users[j].User
			}
		}
	}
	switch {
	case c == nil || u == nil:
		return nil, fmt.Errorf("it has no context %q with a cluster and a user", context)
	case c.ProxyURL != "":
		return nil, fmt.Errorf("context %q: proxy-url: no proxies are used", context)
	case u.cannot() != "":
		return nil, fmt.Errorf("context %q: %s", context, u.cannot())
	}
	var err error
	if a.url, err = serverURL(c.Server); err == nil {
		err = a.credentials(filepath.Dir(path), c, u)
	}
	if err != nil {
		return nil, fmt.Errorf("context %q: %w", context, err)
	}
	return a, nil
}

// credentials reads what a is shown, and shows. Names of files are relative to dir.
func (a *access) credentials(dir string, c *cluster, u *user) (err error) {
	a.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLSServerName, InsecureSkipVerify: c.Insecure}
	ca, err := a.contents(dir, "certificate-authority", c.CA, c.CAData)
	if err == nil && ca != nil {
		a.tls.RootCAs, err = authorities("certificate-authority", ca)
	}
	if err != nil {
		return err
	}
	a.token = u.Token
	if u.Token == "" && u.TokenFile != "" {
		a.tokenFile = absolute(dir, u.TokenFile)
		a.files = append(a.files, a.tokenFile)
	}
	cert, err := a.contents(dir, "client-certificate", u.Cert, u.CertData)
	if err != nil {
		return err
	}
	key, err := a.contents(dir, "client-key", u.Key, u.KeyData)
	if err != nil || cert == nil && key == nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("client-certificate and client-key: %w", err)
	}
	a.tls.Certificates = []tls.Certificate{pair}
	return nil
}

// contents is what stands in a file, or in the kubeconfig itself, which counts more; nil: neither is there.
func (a *access) contents(dir, key, file, data string) ([]byte, error) {
	switch {
	case data != "":
		text, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, fmt.Errorf("%s-data: %w", key, err)
		}
		return text, nil
	case file != "":
		file = absolute(dir, file)
		a.files = append(a.files, file)
		return os.ReadFile(file)
	}
	return nil, nil
}

func absolute(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}
