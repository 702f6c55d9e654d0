// Package health makes active health checks: it asks endpoints on goroutines beside
// the loops whether they are well, from one place for all loops and all upstreams, and
// tells clusters what it has found. It owns the state and the history of each check,
// which survive a reload that leaves the check the same. The loops never wait for it.
package health
