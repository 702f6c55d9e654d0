// Package scarce says which requests wait, or lose their connection to an origin, where
// connections are short.
//
// There, and only there, a request that cannot go on by itself must not hold a connection
// while others could use it. One whose content has not begun waits for its first byte before
// it takes a connection; one whose origin may speak first leaves the last of them to others;
// and one that holds a connection without moving loses it to those that wait.
//
// It knows what has come of a request, what has moved and since when; not what requests or
// connections are.
package scarce
