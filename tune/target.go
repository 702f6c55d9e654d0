package tune

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Target is the machine to look at and to change: the root directory that proc and sys are in, and the state file.
type Target struct {
	root  *os.Root
	state string
}

// StateFile is where Apply notes what it changes, below the root.
const StateFile = "var/lib/zproxy/tune.json"

// Open takes "/" for the machine itself, or a directory that stands for one.
func Open(root string) (*Target, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	return &Target{root: r, state: filepath.Join(root, StateFile)}, nil
}

// Close ends the use of t.
func (t *Target) Close() error { return t.root.Close() }

// Read looks at the machine.
func (t *Target) Read(opt Options) (*Machine, error) {
	if opt.PageBytes == 0 {
		opt.PageBytes = int64(unix.Getpagesize())
	}
	return Read(t.root.FS(), opt)
}

// value reads one setting.
func (t *Target) value(file string) (string, error) {
	b, err := t.root.ReadFile(file)
	return chosen(strings.TrimSpace(string(b))), err
}

// set writes one setting, as echo does: the kernel takes a value only as a whole, and an empty one only with its newline.
func (t *Target) set(file, value string) error {
	f, err := t.root.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	return errors.Join(err, f.Close())
}

// settleTime is longer than it ever takes the kernel to move an interrupt.
const settleTime = 64 * time.Millisecond

// change writes one setting and gives what the kernel made of it, if that is known. An interrupt is moved when it comes
// the next time; while that happens the CPUs it had before can be read, and a change that seems to be none would not be
// reverted.
func (t *Target) change(file, value string) (now string, known bool, err error) {
	failed := t.set(file, value)
	for pause := time.Millisecond; ; pause *= 2 {
		if now, err = t.value(file); err != nil {
			return "", false, errors.Join(failed, err)
		}
		if failed != nil || sameValue(now, value) || !strings.HasPrefix(file, "proc/irq/") || pause > settleTime {
			return now, true, failed
		}
		time.Sleep(pause)
	}
}

// state is what Apply has changed and not yet reverted.
type state struct {
	BootID  string   `json:"boot_id"`
	Network string   `json:"network_namespace"`
	Changes []change `json:"changes"`
	Files   []saved  `json:"files"`
}

// change is one setting. After is what the kernel made of Want, "" until that is known: it may have found fewer huge
// pages, for one.
type change struct {
	Setting string `json:"setting"`
	File    string `json:"file"`
	Before  string `json:"before"`
	Want    string `json:"want"`
	After   string `json:"after"`
}

// saved is a file of persistent settings: what was there before and what has been written since.
type saved struct {
	Path    string `json:"path"`
	Existed bool   `json:"existed"`
	Before  string `json:"before"`
	After   string `json:"after"`
}

// loadState gives an empty state where there is no file. Since Revert writes what is in it, the file must be the
// user's own and writable by nobody else.
func (t *Target) loadState() (*state, error) {
	f, err := os.OpenFile(t.state, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &state{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var owner unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &owner); err != nil {
		return nil, fmt.Errorf("%s: %w", t.state, err)
	}
	if int(owner.Uid) != os.Geteuid() || owner.Mode&0o022 != 0 {
		return nil, fmt.Errorf("%s: is not used, since it does not belong to the calling user alone (owner %d, mode %03o)", t.state, owner.Uid, owner.Mode&0o777)
	}
	s := &state{}
	if err := json.NewDecoder(f).Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w; without it nothing can be reverted", t.state, err)
	}
	for _, c := range s.Changes {
		if !fs.ValidPath(c.File) || !strings.HasPrefix(c.File, "proc/") && !strings.HasPrefix(c.File, "sys/") {
			return nil, fmt.Errorf("%s: %q is no setting of the kernel", t.state, c.File)
		}
	}
	return s, nil
}

// sameNetwork refuses what was noted in another network namespace: its values are not those of this one. After a
// restart there is no telling.
func (t *Target) sameNetwork(s *state) error {
	here, err := t.root.Readlink("proc/self/ns/net")
	if err != nil {
		return nil // a root without processes has one network
	}
	boot, err := t.value("proc/sys/kernel/random/boot_id")
	if err == nil && s.BootID == boot && s.Network != "" && s.Network != here && len(s.Changes) > 0 {
		return fmt.Errorf("%s: has what was changed in another network namespace (%s, this is %s): revert that there first", t.state, s.Network, here)
	}
	s.Network = here
	return nil
}

// saveState writes the file, or removes it when there is nothing left to revert.
func (t *Target) saveState(s *state) error {
	if len(s.Changes) == 0 && len(s.Files) == 0 {
		if err := os.Remove(t.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(t.state), 0o755); err != nil {
		return err
	}
	return replaceFile(t.state, string(text)+"\n", 0o600)
}

// replaceFile puts a whole new file in the place of path, on disk when it returns.
func replaceFile(path, text string, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// readFile gives a file of persistent settings, and whether it is there.
func readFile(path string) (text string, exists bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return string(b), err == nil, err
}

// writeFile writes one, making its directory.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replaceFile(path, text, 0o644)
}

func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
