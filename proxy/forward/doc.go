// Package forward is what becomes of heads on their way through the proxy: who asks, and who is
// believed about that; which fields are added, and which go no further; whether a request
// may go on at all by what proxies before this one have noted; and heads as bytes, in
// the lines of HTTP/1 and the blocks of HTTP/2.
//
// It knows heads and the configuration, no connections and no exchanges. What it gives is
// lent, mostly until the next call, since heads are dealt with one at a time.
package forward
