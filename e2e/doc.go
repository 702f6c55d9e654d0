// Package e2e holds the end-to-end tests: the real binary between real
// clients (curl, wrk, plain sockets) and real origins (nginx, and scripted
// ones where an origin has to misbehave), over every backend that the binary
// says is usable here.
//
// Each test starts its own zproxy with a configuration file of its own, on
// ports the kernel says are free, and ends it with SIGTERM. Before that the
// proxy must be at rest: no client, no exchange, no buffer in use; and it must
// exit with status 0.
//
// The tests of HTTP/2 (h2_*_test.go) have curl, nghttp, h2load, Go's client and
// scripted frames on one side, and nginx, nghttpd, Go's server and scripted
// frames on the other. ZPROXY_STANDIN=haproxy puts HAProxy in the place of the
// proxy where the tests are not about zproxy alone, which judges the tests.
//
// The binary is built by the tests. ZPROXY_BIN names another one to test.
// The programs come with `apt-get install nginx-core curl wrk haproxy nghttp2-client nghttp2-server`; without
// them the tests are skipped, except where CI=true, where they fail. `go test
// -short ./e2e` leaves out the bodies of 1 GiB.
package e2e
