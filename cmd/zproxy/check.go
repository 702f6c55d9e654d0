package main

import (
	"fmt"
	"io"
	"strings"

	"zproxy/config"
	"zproxy/filter"
	"zproxy/proxy/snapshot"
)

// summarise says in a few lines what a valid configuration does.
func summarise(out io.Writer, c *config.Config, s *snapshot.Snapshot) {
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
	for _, line := range chains(c, s) {
		fmt.Fprintf(out, "  filters   %s\n", line)
	}
	if c.Admin.Address != "" {
		fmt.Fprintf(out, "  admin     %s\n", c.Admin.Address)
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(out, "warning: %s\n", w.Error())
	}
}

// mostChains is how many different chains of filters are listed.
const mostChains = 50

// chains lists the chains of filters that routes have, in the order they run, and how many routes have each.
func chains(c *config.Config, s *snapshot.Snapshot) (lines []string) {
	var order []string
	routes, first := map[string]int{}, map[string]string{}
	for i := range s.Routes {
		if s.Routes[i].Chain == nil {
			continue
		}
		text := chainText(s.Routes[i].Chain)
		if routes[text]++; routes[text] == 1 {
			order = append(order, text)
			first[text] = fmt.Sprintf("%s line %d", pattern(&c.Routes[i]), c.Routes[i].Line)
		}
	}
	for i, text := range order {
		if i == mostChains {
			return append(lines, fmt.Sprintf("and %d more chains", len(order)-i))
		}
		line := text + "  for " + first[text]
		if n := routes[text]; n > 1 {
			line += fmt.Sprintf(" and %d more", n-1)
		}
		lines = append(lines, line)
	}
	return lines
}

// chainText is a chain as its filters run.
func chainText(c *filter.Chain) string {
	var names []string
	for _, s := range c.Steps {
		names = append(names, stepText(&s))
	}
	return strings.Join(names, ", then ")
}

func stepText(s *filter.Step) string {
	text := s.Kind
	if s.Text != "" {
		text += " (" + s.Text + ")"
	}
	return text
}
