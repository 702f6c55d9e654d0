// Package interop runs other people's test suites against the real binary:
// h2spec, and gRPC's interoperability tests with gRPC's own client and server;
// and pebble, Let's Encrypt's authority for tests, gives it certificates.
//
// It is a module of its own, so that what they depend on is no dependency of
// the proxy. `make test` runs it; by hand: cd e2e/interop && go test .
//
// ZPROXY_BIN names another binary to test. ZPROXY_STANDIN=haproxy puts HAProxy
// in the proxy's place, ZPROXY_STANDIN=none nobody, which judges the suites.
package interop
