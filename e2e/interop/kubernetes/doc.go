// Package kubernetes runs discovery, and the real binary, against Kubernetes' own API machinery: its server for
// custom resources over etcd, both within the test, where EndpointSlice is such a resource.
//
// It is a module of its own, so that what they depend on is no dependency of the proxy. `make test-long` runs
// it, since it takes minutes to build; by hand: cd e2e/interop/kubernetes && ZPROXY_LONG=1 go test .
// ZPROXY_BIN names another binary to test.
package kubernetes
