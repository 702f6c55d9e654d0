// Package snapshot compiles a configuration into what workers read: an immutable plan of
// listeners, routes, upstreams, limits and responses of the proxy's own. A Registry makes
// one plan after the other, in which what did not change keeps its number.
package snapshot
