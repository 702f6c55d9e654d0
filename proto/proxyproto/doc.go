// Package proxyproto reads and writes the headers by which a proxy in front tells whose
// connection it is (the PROXY protocol, versions 1 and 2). It stands before everything
// else on a connection, TLS included.
package proxyproto
