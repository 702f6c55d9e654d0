// Package h2conn is the HTTP/2 connections of a worker, in either role: bytes in, what they
// come to out.
//
// It is a driver to pull from, as the loop is. Events of the loop go in by Event, received
// blocks by Received, and Next gives what they come to: a head, data, the end of a stream,
// a connection that is of no more use. What is asked of sessions and streams is done, or
// noted, without waiting, and nobody is called. So whoever deals with an event may ask for
// anything, and what that comes to is pulled later.
//
// Sessions open, and are open, before they are over; a session that ends has lost all its
// streams before anybody hears of the first.
package h2conn
