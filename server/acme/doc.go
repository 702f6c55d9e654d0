// Package acme gets the certificates of listeners from an authority and renews them (RFC 8555), on goroutines beside
// the event loops: one for each certificate, which sleeps until there is something to do. It owns the folder where
// account and certificates are kept. What an authority asks for as a proof is answered by whoever serves the names;
// see [Answerer]. A certificate that is got is given to nobody: [Manager.Issued] has what there is, and Changed says
// that it is something else.
package acme
