// Package basicauth asks for a name and a password (RFC 7617), which it compares with a file as htpasswd writes it.
// Hashes of passwords are slow on purpose: they are computed beside the loops, on few goroutines.
package basicauth
