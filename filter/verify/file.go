package verify

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// File is one that is read again when it has changed. One goroutine uses it.
type File struct {
	Path string
	Max  int64 // bytes

	inForce, seen, refused string // how it looked
}

// looks is how a file looks: when it is another one or was written, it looks differently.
func looks(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	inode := uint64(0)
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano(), inode)
}

// Due says that the file looks like something that is neither in force nor refused, and no longer changes: whoever
// writes it may not be done.
func (f *File) Due() bool {
	now := looks(f.Path)
	if now != f.seen {
		f.seen = now
		return false
	}
	return now != f.inForce && now != f.refused
}

// Read reads it. Whoever calls says by Take or Refuse what has come of it.
func (f *File) Read() ([]byte, error) {
	f.seen = looks(f.Path)
	file, err := os.Open(f.Path)
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, f.Max+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	if int64(len(data)) > f.Max {
		return nil, fmt.Errorf("%s: more than %d bytes", f.Path, f.Max)
	}
	return data, nil
}

// Take: what was read is in force.
func (f *File) Take() { f.inForce, f.refused = f.seen, "" }

// Refuse: what was read is no good, and is not read again before it changes.
func (f *File) Refuse() { f.refused = f.seen }
