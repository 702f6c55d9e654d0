// Package tunnel is what becomes of two sides once a 101, or the 2xx to an extended
// CONNECT, has joined them: bytes of one side go to the other, and where they are
// WebSocket its frames are followed as they pass.
//
// It does no I/O and reads no clock. What a side has sent, that it has ended, or that a
// time is over goes in by calls; Next gives what that comes to: bytes for a side, that a
// side is to be read on, a deadline, the end of the tunnel. Whoever calls
// pulls all of it before the next call. Nobody is called back, and nothing is allocated
// for a frame.
//
// Frames pass as they come: what was received in one piece leaves in one piece. Held
// back is only what is not decided yet, the bytes of an incomplete header or control
// frame. So between two pieces the receiver is at the end of a frame or within the
// payload of one that carries a message; at the end of one, the proxy may put in a
// frame of its own: a ping, or a Close frame.
package tunnel
