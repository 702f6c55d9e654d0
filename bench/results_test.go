package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// resultsName is DATE-MACHINE, with a number where there were several that day, and what
// alone was measured.
var resultsName = regexp.MustCompile(`^\d{4}-\d\d-\d\d-([0-9a-z]+?)(-\d+)?(-[a-z]+)?$`)

// alike is a configuration without what is different in every run.
var alike = regexp.MustCompile(`127\.0\.0\.1:\d+|/tmp/zproxy-bench-\d+`)

// Of a machine the newest run is kept, and each of its configurations once: older ones
// are in the history.
func TestNewestResultsAreKept(t *testing.T) {
	list, err := exec.Command("git", "ls-files", "results").Output()
	if err != nil {
		t.Skipf("git does not know which results are kept (%v): run this in a clone of the repository", err)
	}
	kept := strings.Fields(string(list)) // and not what a run has left to look at
	reports, newest, texts := 0, map[string]string{}, map[string]string{}
	err = filepath.WalkDir("results", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains(kept, file) {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		parts := strings.Split(file, "/")
		m := resultsName.FindStringSubmatch(parts[1])
		if m == nil {
			t.Fatalf("results/%s is no DATE-MACHINE", parts[1])
		}
		if first, ok := newest[m[1]+m[3]]; ok && first != parts[1] {
			t.Errorf("of machine %s there are results/%s and results/%s: remove the older one", m[1], first, parts[1])
		}
		newest[m[1]+m[3]] = parts[1]
		switch name := filepath.Base(file); {
		case name == "report.md":
			reports++
		case parts[2] == "configs":
			who := ""
			for i := range contenders {
				if c := contenders[i].name; strings.Contains(name, "-"+c+".") && len(c) > len(who) {
					who = c
				}
			}
			same := parts[1] + " " + who + " " + alike.ReplaceAllString(string(text), "")
			if first, ok := texts[same]; ok {
				t.Errorf("%s is %s once more", file, first)
			}
			texts[same] = file
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if reports < len(newest) || reports == 0 {
		t.Errorf("%d reports in %d directories", reports, len(newest))
	}
}
