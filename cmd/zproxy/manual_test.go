package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The man page has every command that the help has.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../scripts/package/zproxy.8")
	if err != nil {
		t.Fatal(err)
	}
	_, commands, _ := strings.Cut(string(text), ".SH COMMANDS")
	for _, m := range regexp.MustCompile(`(?m)^  zproxy ([a-z]+)`).FindAllStringSubmatch(usage, -1) {
		if !regexp.MustCompile(`(?m)^\.BI? "?` + m[1] + `\b`).MatchString(commands) {
			t.Errorf("scripts/package/zproxy.8 does not have the command %s", m[1])
		}
	}
}
