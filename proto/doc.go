// Package proto is HTTP without a version: the message head, the known field
// names and methods, targets and authorities, and the faults a message can
// have. The codecs (proto/http1 and its siblings) parse into a Head and write
// from one; everything above them reads only what is here.
//
// Bytes are borrowed: a Head holds offsets into Head.Buf, which belongs to
// whoever received it and must stay untouched while the Head is in use.
// Nothing here allocates per message, blocks, or knows the time.
package proto
