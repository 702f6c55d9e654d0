// Package transport gives the worker connections: sockets of the loop, in clear
// or within TLS, with the loop's own intents and events. A [Transport] is a loop;
// for connections in clear each call goes straight through.
//
// # TLS
//
// Secure (for an accepted connection) and SecureDial (for one that Dial began) put
// a connection into TLS. The handshake is crypto/tls's, on goroutines of package
// handshake; while it lasts the owner hears nothing but Timer. Its end is a Connected event:
// with Errno 0 the connection is open, and what it was agreed to be can be asked
// for; else Failure says why, and the owner calls Close, as after a failed Dial.
//
// From there on records are opened where they were received, and sealed when the
// turn ends: what was Sent in a turn leaves in as few records as hold it, so that
// the owner may put it in order until then. Received and Queued count content;
// Sent and Unacked count what is on the wire, which is good for one thing, to see
// that something moves.
//
// A peer that ends its direction says so (close_notify): that is RecvEnd with
// Errno 0. One whose connection just ends may have been cut short by anybody:
// RecvEnd has ECONNRESET (RFC 9846 6.1).
package transport
