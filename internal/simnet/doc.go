// Package simnet is what surrounds a proxy in a simulation: clients and
// origins that speak HTTP/1 or HTTP/2 by a script, on the sockets and the clock of a
// sim.World, and that misbehave in every way the script says.
//
// The script is a function of the world's seed. Every request has a number,
// which is in its target and in a field of its answer, and a body whose every
// byte follows from that number: so each peer knows of each byte it gets
// whether it may be there. What must not happen is collected in
// Run.Violations.
//
// Its parsers are its own and strict: they share nothing with the proxy's.
package simnet
