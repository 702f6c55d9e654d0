package main

import (
	"fmt"
	"io"
	"strings"

	"zproxy/config"
)

// summarise says in a few lines what a valid configuration does.
func summarise(out io.Writer, c *config.Config) {
	fmt.Fprintf(out, "%s: valid\n", c.File)
	for _, l := range c.Listeners {
		fmt.Fprintf(out, "  listener  %s  %s\n", l.Address, strings.Join(l.Protocols, ", "))
	}
	for _, u := range c.Upstreams {
		var eps []string
		for _, e := range u.Endpoints {
			eps = append(eps, e.Address)
		}
		if u.Discover != nil {
			eps = append(eps, "what is found by "+u.Discover.Kind())
		}
		fmt.Fprintf(out, "  upstream  %s  %s over %s\n", u.Name, u.Balance, strings.Join(eps, ", "))
	}
	fmt.Fprintf(out, "  routes    %d\n", len(c.Routes))
	if c.Admin.Address != "" {
		fmt.Fprintf(out, "  admin     %s\n", c.Admin.Address)
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w.Error())
	}
}
