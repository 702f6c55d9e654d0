package http2

import "zproxy/internal/slab"

// Stream is the session's knowledge of one stream. ID and User are for the
// owner to read, User also to write; the rest is the session's. It holds no
// pointers.
type Stream struct {
	ID   uint32 // stream identifier; 0: of a Client, not sent yet
	User uint32 // the owner's
}

// Streams is the table of streams of one worker, shared by its sessions.
type Streams = slab.Slab[Stream]
