package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DiscoverKubernetes is a service in Kubernetes, and which addresses and port of its EndpointSlices are endpoints.
type DiscoverKubernetes struct {
	Service    string
	Namespace  string // "": that of the kubeconfig's context, or of the pod
	Port       int    // 0: see PortName
	PortName   string // "": the only one, if Port is 0
	Addresses  string // "any", "ipv4" or "ipv6"
	Kubeconfig string // as one that can be opened, once verified; "": the pod's service account
	Context    string // of Kubeconfig, "": the current one
}

func discoverKubernetesFields() []field {
	return []field{
		{key: "service", kind: kindText, required: true, check: checkObjectName, want: wantObjectName, at: at(func(k *DiscoverKubernetes) *string { return &k.Service }),
			doc: "The name of the service whose EndpointSlices are watched."},
		{key: "namespace", kind: kindText, check: checkObjectName, want: wantObjectName, at: at(func(k *DiscoverKubernetes) *string { return &k.Namespace }),
			zero: "that of the pod, or of the kubeconfig's context", doc: "The namespace that the service is in."},
		{key: "port", kind: kindCount, max: 65535, def: "0", at: at(func(k *DiscoverKubernetes) *int { return &k.Port }),
			zero: "see `port_name`", doc: "The port of the endpoints by its number, which is the pods' (`targetPort`), not the service's."},
		{key: "port_name", kind: kindText, at: at(func(k *DiscoverKubernetes) *string { return &k.PortName }),
			zero: "the only TCP port that there is", doc: "The port of the endpoints by the name that the service has for it."},
		{key: "addresses", kind: kindEnum, def: "any", enum: []string{"any", "ipv4", "ipv6"}, at: at(func(k *DiscoverKubernetes) *string { return &k.Addresses }),
			doc: "Which addresses are endpoints. A pod of a dual-stack service has one of each family, and with `any` is two endpoints."},
		{key: "kubeconfig", kind: kindText, check: checkFile, want: wantFile, at: at(func(k *DiscoverKubernetes) *string { return &k.Kubeconfig }),
			zero: "the service account of the pod that zproxy runs in", doc: "A kubeconfig file, relative to the folder of the configuration, that says where the API server is and whom it knows: with a token or a client certificate. Programs to get credentials (`exec`) are not started."},
		{key: "context", kind: kindText, at: at(func(k *DiscoverKubernetes) *string { return &k.Context }),
			zero: "its `current-context`", doc: "The context of `kubeconfig`."},
	}
}

const wantObjectName = "the name of an object in Kubernetes"

func checkObjectName(text string, _ int64) (want, hint string) {
	if text == "" || len(text) > 253 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return wantObjectName, "lower case letters, digits, - and ."
	}
	return "", ""
}

// verifyKubernetes checks what keys mean together.
func (d *decoder) verifyKubernetes(c *Config, s *DiscoverKubernetes, n *yaml.Node, p *path) {
	if s == nil {
		return
	}
	if s.Port != 0 && s.PortName != "" {
		d.fail(child(n, "port"), &path{up: p, key: "port"}, strconv.Itoa(s.Port)+" beside port_name", "port or port_name, not both", "")
	}
	switch {
	case s.Kubeconfig != "":
		s.Kubeconfig = c.Path(s.Kubeconfig)
	case s.Context != "":
		d.fail(child(n, "context"), &path{up: p, key: "context"}, quote(s.Context)+" without kubeconfig", "kubeconfig with it", "")
	}
}
