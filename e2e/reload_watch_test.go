package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With -watch a configuration is in force soon after it is written, however it is written.
func TestReloadWatch(t *testing.T) {
	t.Parallel()
	u := startUnixAdmin(t, saysOne, "-watch")
	u.write(t, saysTwo) // in place
	u.settles(t, "two")

	other := writeFile(t, filepath.Join(u.dir, "other.yaml"), u.whole(saysOne))
	if err := os.Rename(other, u.file); err != nil {
		t.Fatal(err)
	}
	u.settles(t, "one")

	// As Kubernetes mounts a ConfigMap: the file is a link into ..data, which is a link to a folder
	// that another one takes the place of.
	mount := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(u.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(u.dir, name, "zproxy.yaml"), u.whole(text))
		link := filepath.Join(u.dir, "..data_tmp")
		if err := os.Symlink(name, link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, filepath.Join(u.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", saysTwo)
	if err := os.Remove(u.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/zproxy.yaml", u.file); err != nil {
		t.Fatal(err)
	}
	u.settles(t, "two")
	mount("..2", saysOne)
	u.settles(t, "one")

	// What is wrong changes nothing, and what puts it right is taken.
	u.write(t, saysTwo+"nonsense: 1\n")
	eventually(t, patience, "it is refused", func() (bool, string) { return strings.Contains(u.out.String(), "nonsense"), tail(u.out.String()) })
	if got := u.body(t); got != "one" {
		t.Errorf("it is in force: %s", got)
	}
	u.write(t, saysTwo)
	u.settles(t, "two")
}
