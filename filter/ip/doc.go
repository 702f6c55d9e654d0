// Package ip lets clients in by their addresses.
package ip
