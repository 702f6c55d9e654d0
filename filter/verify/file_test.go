package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFileIsReadWhenItHasChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	f := File{Path: path, Max: 5}
	if _, err := f.Read(); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	f.Refuse()
	write("one")
	if f.Due() {
		t.Error("due while it may still be written")
	}
	if !f.Due() {
		t.Error("not due")
	}
	if data, err := f.Read(); err != nil || string(data) != "one" {
		t.Errorf("%q %v", data, err)
	}
	f.Take()
	if f.Due() || f.Due() {
		t.Error("due without a change")
	}
	write("longer")
	f.Due()
	if !f.Due() {
		t.Error("not due")
	}
	if _, err := f.Read(); err == nil || !strings.Contains(err.Error(), "more than 5 bytes") {
		t.Errorf("%v", err)
	}
	f.Refuse()
	if f.Due() || f.Due() {
		t.Error("a file that is no good is read again")
	}
	write("two")
	f.Due()
	if !f.Due() {
		t.Error("not due after another change")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.Due()
	if !f.Due() {
		t.Error("a file that is gone is nothing to say")
	}
}
