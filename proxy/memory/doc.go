// Package memory decides how much of a loop's buffer pool a peer may make the proxy hold,
// and whose exchange ends when others wait for blocks.
//
// An origin that does not read, or a client, makes the proxy hold what it was sent: a little
// for each exchange, but there may be thousands of them. Marks bound each, the reserve bounds
// all (see Reserve); what then is left to do is to end those that hold blocks and do not move,
// so that those that would move get them (see Holders).
//
// It knows numbers only: bytes, blocks, milliseconds, and who holds them by index.
package memory
