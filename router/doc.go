// Package router chooses a route from a request's host, path and method.
//
// A Builder collects routes; Build lays them out once, as flat arrays without pointers, in a Router that never
// changes and that any number of goroutines may read at once.
//
// Every host name has one trie of path segments. Its nodes carry the set of methods found below them, which makes it
// the trie of each method at the same time: a lookup for GET never enters a branch without a GET route, so whatever
// other methods do, it walks what a trie of the GET routes alone would be, and routes for all methods are stored once.
//
// The text of every literal segment is kept once for the whole table and known by number. A lookup reads each byte of
// the path at most twice (to find its segment, to number it); from there on it compares numbers. At most
// MaxAlternatives nodes can match the same leading segments of one path, which Add checks, so that a lookup enters no
// more than MaxAlternatives nodes per segment and host however the routes overlap.
//
// docs/routing.md describes what matches what.
package router
