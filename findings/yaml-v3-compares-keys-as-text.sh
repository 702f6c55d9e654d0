#!/usr/bin/env bash
# go.yaml.in/yaml/v3 finds duplicate keys by their text: it refuses 404 beside "404", and takes 0x10 beside 16 and null beside ~.
#
# Seen with: go.yaml.in/yaml/v3 v3.0.6.
# YAML 1.2.2 section 3.2.1.3 has keys equal when tag and canonical value are: the number 404 and the text "404" are two keys, 16 and 0x10 are
# one. The decoder reports "already defined" for the first pair, though a map[any]any has room for both, and of the second pair it
# keeps the last value and reports nothing.
# Why a proxy cares: status codes and ports are keys of configuration. A file that other readers take is refused with a message that
# is wrong, and a file in which the second entry hides the first is accepted.
#
# Needs Go. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module keys

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
		keys int // 0: refused
	}{
		{`{404: a, 405: b}`, 2},
		{`{404: a, 404: b}`, 0},
		{`{404: a, "404": b}`, 0},
		{`{true: a, "true": b}`, 0},
		{`{16: a, 0x10: b}`, 1},
		{`{null: a, ~: b}`, 1},
		{`{true: a, True: b}`, 1},
	} {
		var m map[any]any
		err := yaml.Unmarshal([]byte(row.text), &m)
		fmt.Printf("%-21s %d keys, error %v\n", row.text, len(m), err)
		failed = failed || len(m) != row.keys || (err != nil) != (row.keys == 0)
	}
	if failed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
echo "go.yaml.in/yaml/v3 v3.0.6"
GOFLAGS=-mod=mod go run .
