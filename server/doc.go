// Package server is the process: it places the loops on CPUs, gives each its
// memory and its listeners, starts the workers, listens to signals and tells
// the admin pages what they show. Nothing here is on the path of a request.
package server
