package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"zproxy/config"
)

// folder is where what belongs to one authority is kept: the key of the account, and of each certificate a file with
// key and chain, called after its first name, and one with what the authority advises. The folder is its owner's
// alone, and so are the files. A file is there as a whole, or as it was before.
type folder string

// folderOf is the one of an authority in a storage.
func folderOf(storage, directory string) folder {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			return c
		}
		return '-'
	}, strings.TrimPrefix(directory, "https://"))
	return folder(filepath.Join(storage, strings.TrimLeft(name, ".")))
}

const accountFile = "account.key"

func certificateFile(names []string) string { return names[0] + ".pem" }
func adviceFile(names []string) string      { return names[0] + ".json" }

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

// storageError is trouble with the folder. What there is to do about it is part of its text.
type storageError struct{ error }

func (e storageError) Unwrap() error { return e.error }

func trouble(err error) error {
	hint := ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = " (make room there, or name another folder as storage)"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		hint = " (the folder has to belong to the user zproxy runs as; under systemd StateDirectory=zproxy makes /var/lib/zproxy)"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrNotExist):
		hint = " (storage has to be a folder, or to be made as one)"
	}
	return storageError{fmt.Errorf("%w%s", err, hint)}
}

// read is a file's content; nil without an error where there is none.
func (f folder) read(name string) ([]byte, error) {
	data, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, trouble(err)
	}
	return data, nil
}

// write puts a file in the place of the one of its name, if there is one. After an error that is as it was.
func (f folder) write(name string, data []byte) error {
	if err := f.place(f.path(name), data); err != nil {
		return trouble(err)
	}
	return nil
}

func (f folder) place(path string, data []byte) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = file.Chmod(0o600) // one that was left there may have another
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = file.Sync()
	}
	if wrong := file.Close(); err == nil {
		err = wrong
	}
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		os.Remove(next)
		return err
	}
	in, err := os.Open(string(f))
	if err != nil {
		return err
	}
	defer in.Close()
	return in.Sync()
}

// writable says what would keep a certificate from being kept: what is ordered and then lost still counts against
// what an authority gives. size is what a file is likely to have.
func (f folder) writable(name string, size int) error {
	const trial = ".trial"
	if err := f.write(name+trial, make([]byte, size)); err != nil {
		return err
	}
	if err := os.Remove(f.path(name + trial)); err != nil {
		return trouble(err)
	}
	return nil
}

// certificate reads the certificate for names; nil without an error where there is none. The error says what is
// wrong with the file.
func (f folder) certificate(names []string) (*held, error) {
	data, err := f.read(certificateFile(names))
	if data == nil || err != nil {
		return nil, err
	}
	return hold(f.path(certificateFile(names)), data)
}

// advice is what was kept of it for a certificate; nothing is lost where there is none.
func (f folder) advice(names []string, h *held) *advice {
	data, err := f.read(adviceFile(names))
	var a advice
	if err != nil || data == nil || json.Unmarshal(data, &a) != nil || a.Serial != h.serial() {
		return &advice{Serial: h.serial()}
	}
	return &a
}

func (f folder) keepAdvice(names []string, a *advice) error {
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return f.write(adviceFile(names), append(data, '\n'))
}

// hold makes a certificate of a file's content: key and chain in PEM.
func hold(file string, data []byte) (*held, error) {
	c := config.Certificate{Cert: file, Key: file, CertPEM: data, KeyPEM: data}
	pair, err := c.Pair()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &held{Certificate: c, leaf: pair.Leaf}, nil
}
