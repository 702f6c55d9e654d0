package server

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// replaceFile has the file hold text: all of it or, after an error, what it held before. A link
// stays one, and the file keeps its mode and owner.
func replaceFile(file string, text []byte) (err error) {
	fail := func(err error) error {
		return fmt.Errorf("the configuration cannot be written to its file, which a restart would read: %w", err)
	}
	if file, err = filepath.EvalSymlinks(file); err != nil {
		return fail(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		return fail(err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name()) // by then it has another name, unless something failed
	defer f.Close()
	if _, err = f.Write(text); err == nil {
		err = f.Chmod(info.Mode().Perm())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && err == nil && int(st.Uid) != os.Geteuid() {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
