// Package tls is the record layer of TLS 1.3 (RFC 9846) and TLS 1.2 (RFC 5246,
// AEAD suites) once the handshake is over: records in and out, KeyUpdate, alerts
// and tickets, sans-IO. The handshake itself is crypto/tls's; what it leaves
// behind, the secrets, is all that a Conn begins with. A Conn at rest is raw keys
// and counters without pointers; a Cipher, a key made ready for use, is needed
// only while records pass, and serves one Conn after another.
package tls
