// Package filter is the chain of filters that requests pass between their route and their origin, and that responses
// pass on their way back. A chain is built once, when the configuration is compiled, and is immutable: all loops run
// the same one. What a request changes is in its Request, which its loop uses again.
//
// A filter has a package of its own below this one. It knows heads, no exchanges and no connections.
package filter
