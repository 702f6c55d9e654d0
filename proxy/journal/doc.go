// Package journal counts and logs what has ended: exchanges, by route and by upstream, and what
// came to no exchange. It is told all of it, and knows no exchange and no connection. What
// was asked for it notes when a request is forwarded, in bytes that whoever keeps
// them hands back when the exchange ends.
package journal
