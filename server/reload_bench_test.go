package server

import (
	"fmt"
	"strings"
	"testing"

	"zproxy/config"
	"zproxy/proxy/snapshot"
)

// large is the text of a configuration of 10 000 routes to 1 000 upstreams; turn makes one route another.
func large(turn int) []byte {
	var b strings.Builder
	b.WriteString("listeners:\n  - {address: \"127.0.0.1:8080\"}\nupstreams:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  u%d: {endpoints: [{address: \"127.0.0.1:9\"}]}\n", i)
	}
	fmt.Fprintf(&b, "routes:\n  - {path: /turn, respond: {status: 200, body: \"%d\"}}\n", turn)
	for i := range 9999 {
		fmt.Fprintf(&b, "  - {host: h%d.example, path: \"/r%d/*\", upstream: u%d}\n", i%100, i, i%1000)
	}
	return []byte(b.String())
}

// BenchmarkLargeReload is what a reload of many routes and upstreams takes beside the loops, by stage.
func BenchmarkLargeReload(b *testing.B) {
	texts := [2][]byte{large(0), large(1)}
	var configs [2]*config.Config
	for i, text := range texts {
		c, err := config.Parse("large.yaml", text)
		if err != nil {
			b.Fatal(err)
		}
		configs[i] = c
	}
	stage := func(name string, do func(i int) error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := do(i); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	stage("parse", func(i int) error {
		_, err := config.Parse("large.yaml", texts[i%2])
		return err
	})
	stage("check", func(i int) error {
		c := *configs[i%2] // which gets warnings
		return Check(&c)
	})
	stage("keepAgreed", func(i int) error {
		keepAgreed(configs[i%2], configs[(i+1)%2])
		return nil
	})
	stage("difference", func(i int) error {
		Difference(configs[i%2], configs[(i+1)%2])
		return nil
	})
	r := snapshot.NewRegistry(1, nil)
	var before *snapshot.Snapshot
	stage("compile", func(i int) error {
		s, err := r.Compile(configs[i%2])
		if err == nil && before != nil {
			before.LetGo()
		}
		before = s
		return err
	})
}
