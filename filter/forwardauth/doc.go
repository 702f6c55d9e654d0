// Package forwardauth asks a server whether a request may go on (nginx: auth_request; Traefik: forwardAuth). It sends
// a GET with fields of the request, on a goroutine beside the loops, over connections of its own to the endpoints of
// an upstream: a response with a status of 2xx lets the request go on, with fields of that response; another one
// goes to the client.
package forwardauth
