package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/test/integration/fixtures"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"zproxy/internal/child"
)

// cluster is Kubernetes' API server, as far as it serves resources that are defined at run time.
type cluster struct {
	config *rest.Config
	slices dynamic.ResourceInterface // of the namespace default
	stop   func()
}

func startEtcd(t *testing.T) *embed.Etcd {
	t.Helper()
	c := embed.NewConfig()
	c.Dir = t.TempDir()
	c.LogLevel = "fatal"
	c.UnsafeNoFsync = true
	urls := func() []url.URL { return []url.URL{{Scheme: "http", Host: child.FreeAddr(t).String()}} }
	c.ListenClientUrls, c.ListenPeerUrls = urls(), urls()
	c.AdvertiseClientUrls, c.AdvertisePeerUrls = c.ListenClientUrls, c.ListenPeerUrls
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(time.Minute):
		t.Fatal("etcd does not start within a minute")
	}
	return e
}

// quiet is a test's log without what the server says.
type quiet struct{ *testing.T }

func (quiet) Logf(string, ...any) {}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	etcd := startEtcd(t)
	t.Setenv("KUBE_INTEGRATION_ETCD_URL", etcd.Config().ListenClientUrls[0].String())
	end, config, _, err := fixtures.StartDefaultServer(quiet{t})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{config: config, stop: sync.OnceFunc(end)}
	t.Cleanup(c.stop)
	definitions, err := clientset.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	anything := true
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "endpointslices.discovery.k8s.io", Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, a test's"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "discovery.k8s.io", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "endpointslices", Singular: "endpointslice", Kind: "EndpointSlice", ListKind: "EndpointSliceList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &anything}},
			}},
		},
	}
	if _, err := fixtures.CreateNewV1CustomResourceDefinition(d, definitions, objects); err != nil {
		t.Fatal(err)
	}
	c.slices = objects.Resource(discoveryv1.SchemeGroupVersion.WithResource("endpointslices")).Namespace("default")
	return c
}

// slice is one of the service app, with an endpoint for each address, that is ready.
func slice(name string, port int32, addrs ...string) *discoveryv1.EndpointSlice {
	portName := "http"
	s := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "app"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	for _, addr := range addrs {
		ready := true
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
	}
	return s
}

// put has a slice be there as it is.
func (c *cluster) put(t *testing.T, s *discoveryv1.EndpointSlice) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	u := new(unstructured.Unstructured)
	if err := u.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	if _, err := c.slices.Apply(t.Context(), s.Name, u, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) remove(t *testing.T, name string) {
	t.Helper()
	if err := c.slices.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// kubeconfig writes one for the cluster.
func (c *cluster) kubeconfig(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, c.config.CAData, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q, tls-server-name: %q}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: default}}]
current-context: x
`, c.config.Host, ca, c.config.ServerName, c.config.BearerToken)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
