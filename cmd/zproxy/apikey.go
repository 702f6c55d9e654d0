package main

import (
	"fmt"
	"io"

	"zproxy/filter/apikey"
)

// cmdAPIKey makes a key for a client. The key goes to the terminal alone, so that "zproxy apikey NAME >> FILE" keeps
// its line.
func cmdAPIKey(args []string, out, errOut io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(errOut, "usage: zproxy apikey NAME >> FILE")
		return 2
	}
	secret, line, err := apikey.NewKey(args[0])
	if err != nil {
		fmt.Fprintln(errOut, "zproxy apikey:", err)
		return 1
	}
	fmt.Fprintf(errOut, "The key of %s, which is shown once and kept nowhere:\n", args[0])
	fmt.Fprintln(errOut, secret)
	fmt.Fprintln(out, line)
	return 0
}
