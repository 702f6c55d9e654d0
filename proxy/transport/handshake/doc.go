// Package handshake makes TLS handshakes with crypto/tls on threads apart from the
// event loops: a loop feeds a Job the records that arrive and sends what the Job has to
// say; when it is over, the Job gives the secrets, and the
// connection's records are the loop's own affair from there on.
//
// crypto/tls can not be asked for the keys of a connection. Their secrets come by
// Config.KeyLogWriter, which is meant for debugging and is exact; the sequence
// numbers to go on with follow from what was written.
package handshake
