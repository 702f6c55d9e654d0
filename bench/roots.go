package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Which nginx and HAProxy to compare with.
const (
	installedPeers = "installed" // those of this system
	currentPeers   = "current"   // those of Debian's development branch
)

// suite is the development branch: what the next release will have.
const suite = "sid"

// peerPackages are in the root beside what every Debian has.
var peerPackages = []string{"nginx", "haproxy"}

// peerRoot has a root directory with today's peers, makes one when there is none
// yet, and lets them see the directory that configurations and sockets are in.
// It is mounted in the mount namespace of this process, and gone with it.
func (ps *programs) peerRoot() error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	root := filepath.Join(cache, "zproxy-bench", suite+"-"+runtime.GOARCH)
	if _, err := os.Stat(root); err != nil {
		if err := ps.bootstrap(root); err != nil {
			return err
		}
	} else {
		ps.b.say("peers are those in %s; remove it to have newer ones\n", root)
	}
	inside := filepath.Join(root, ps.b.dir)
	if err := os.MkdirAll(inside, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(ps.b.dir, inside, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", ps.b.dir, inside, err)
	}
	ps.b.undo = append(ps.b.undo, func() {
		if unix.Unmount(inside, unix.MNT_DETACH) == nil {
			os.Remove(inside)
		}
	})
	ps.prefix = []string{"chroot", root}
	for name, package_ := range map[string]string{"OpenSSL of nginx and haproxy": "libssl3t64", "C library of nginx and haproxy": "libc6"} {
		text, err := exec.CommandContext(ps.b.ctx, "chroot", root, "dpkg-query", "-W", "-f", "${Package} ${Version}", package_).Output()
		if err != nil {
			return fmt.Errorf("%s has no %s: %w; remove it to have it made anew", root, package_, err)
		}
		ps.versions[name] = string(text)
	}
	return nil
}

// bootstrap makes the root; nothing is left of one that has failed.
func (ps *programs) bootstrap(root string) error {
	if find("debootstrap") == "" {
		if !ps.b.set.install {
			return errors.New("debootstrap is not installed, which -peers " + currentPeers + " needs: apt-get install debootstrap")
		}
		if err := ps.aptInstall([]string{"debootstrap"}); err != nil {
			return err
		}
	}
	mirror, err := ps.mirror()
	if err != nil {
		return err
	}
	fresh := root + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		return err
	}
	ps.b.say("making %s with debootstrap, about a minute and 250 MB\n", root)
	cmd := exec.CommandContext(ps.b.ctx, find("debootstrap"), "--variant=minbase", "--include="+strings.Join(peerPackages, ","), suite, fresh, mirror)
	if text, err := ps.output(cmd); err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("debootstrap: %w; it said:\n  %s", err, strings.Join(lines[max(0, len(lines)-5):], "\n  "))
	}
	return os.Rename(fresh, root)
}

// mirror is where this machine has its own Debian packages from.
func (ps *programs) mirror() (string, error) {
	text, err := ps.output(exec.CommandContext(ps.b.ctx, "apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)"))
	if err != nil {
		return "", fmt.Errorf("asking apt-get for the mirror of this machine: %w: %s", err, bytes.TrimSpace(text))
	}
	for line := range strings.Lines(string(text)) {
		if uri, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian|Debian|"); ok && uri != "" {
			return uri, nil
		}
	}
	return "", errors.New("apt-get knows no mirror of Debian here, which -peers " + currentPeers + " needs: is this Debian, and has apt-get update been run?")
}
