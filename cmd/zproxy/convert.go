package main

import (
	"fmt"
	"io"

	"zproxy/config"
	"zproxy/convert"
	"zproxy/convert/haproxy"
	"zproxy/convert/nginx"
)

const convertUsage = "usage: zproxy convert nginx|haproxy FILE"

// statusLost is the exit status of a translation in which something is missing.
const statusLost = 3

// cmdConvert translates the configuration of another program. Status 3: something of it has no equivalent.
func cmdConvert(args []string, out, errOut io.Writer) int {
	from := map[string]func(string) (*convert.Document, error){"nginx": nginx.Convert, "haproxy": haproxy.Convert}
	if len(args) != 2 || from[args[0]] == nil {
		fmt.Fprintln(errOut, convertUsage)
		return 2
	}
	doc, err := from[args[0]](args[1])
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	text, err := doc.Bytes("Translated from " + args[1] + " by zproxy convert " + args[0] + ".")
	if err == nil {
		_, err = out.Write(text)
	}
	if err != nil {
		fmt.Fprintln(errOut, err)
		return 1
	}
	for _, f := range doc.Findings {
		fmt.Fprintln(errOut, f.String())
	}
	if _, err := config.Parse("the translation", text); err != nil {
		fmt.Fprintf(errOut, "the translation has to be mended by hand:\n%v\n", err)
		return statusLost
	}
	if doc.HasLost() {
		return statusLost
	}
	return 0
}
