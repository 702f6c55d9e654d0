// Package credentials owns what a listener's TLS handshakes are made with:
// certificates by name, which clients are let in, revocation lists, the keys of
// session tickets and of Encrypted ClientHello. A [Set] is made from the
// configuration and what its files hold, and never changes; a [Store] is where
// handshakes find the current one.
package credentials
