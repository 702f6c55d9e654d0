// Package ws reads WebSocket (RFC 6455) from the outside: it checks frames and
// handshakes that others exchange, and writes the few frames a proxy has to
// say itself. It does no I/O, copies nothing and changes nothing.
//
// A [Scanner] follows one direction of one connection through buffers of any
// size and says where frames end and what is wrong with one. Payloads are
// unmasked for checking only. A Scanner has no pointers and at most 64 bytes;
// it gives the same result whatever way its input is split.
package ws
