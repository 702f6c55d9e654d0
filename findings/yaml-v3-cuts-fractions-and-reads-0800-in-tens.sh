#!/usr/bin/env bash
# go.yaml.in/yaml/v3 decodes 1.9 into an int field as 1 without an error, and a leading 0 means octal unless an 8 or 9 follows.
#
# Seen with: go.yaml.in/yaml/v3 v3.0.6.
# Unmarshal is documented to return a TypeError for values that do not fit the Go type, and so it does for 300 into a uint8 or text
# into an int; a fraction is cut off instead, for every kind of integer. The readme says that octal numbers are those of YAML 1.1
# (0777). There 0800 is no number at all, in YAML 1.2 it is 800 as 0777 is 777; here 0777 is 511 and 0800 is 800, because what
# fails as octal is tried as a float, which then fits the int field.
# Why a proxy cares: "max_connections: 1.5" or "rate: 0.5" is taken without complaint as 1 and 0, and 0 is often "no limit"; modes of
# socket files and ports with a leading 0 change their base with a digit. A program that wants what was written has to look at the
# nodes' text and tag itself.
#
# Needs Go. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module numbers

go 1.24

require go.yaml.in/yaml/v3 v3.0.6
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
)

func main() {
	failed := false
	for _, row := range []struct {
		text string
		ok   bool
		want uint8
		tag  string
	}{
		{"12", true, 12, "!!int"},
		{"300", false, 0, "!!int"},
		{"twelve", false, 0, "!!str"},
		{"1.9", true, 1, "!!float"},
		{"0.5", true, 0, "!!float"},
		{"017", true, 15, "!!int"},
		{"018", true, 18, "!!float"},
		{"0_9", true, 9, "!!float"},
	} {
		var into struct{ A uint8 }
		var node yaml.Node
		err := yaml.Unmarshal([]byte("a: "+row.text), &into)
		if err := yaml.Unmarshal([]byte("a: "+row.text), &node); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
		tag := node.Content[0].Content[1].ShortTag()
		fmt.Printf("%-6s into a uint8: %d, error %v; tag %s\n", row.text, into.A, err != nil, tag)
		failed = failed || (err == nil) != row.ok || into.A != row.want || tag != row.tag
	}
	if failed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
echo "go.yaml.in/yaml/v3 v3.0.6"
GOFLAGS=-mod=mod go run .
