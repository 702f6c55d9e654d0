package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// hierarchy is a mounted cgroup hierarchy and where this process is in it.
type hierarchy struct {
	mount string // of the file system, without the leading slash
	root  string // the cgroup that the mount point shows
	group string // of this process
	file  string // the one that holds the CPUs in effect
}

// readCpuset gives the CPUs that this process's cgroup may use and the file
// that says so, "" when no cgroup restricts them. The kernel cuts the affinity
// mask to the cpuset by itself; reading both covers system call filters and
// emulators that answer with a mask of their own, and lets the error name the
// file that leaves no CPU.
func readCpuset(root fs.FS) (CPUSet, string, error) {
	for _, h := range hierarchies(root) {
		// A process in a cgroup namespace, or in a container that was given
		// only a part of the tree, may not see its own group. Then the nearest
		// one above that has the file counts.
		group := strings.TrimPrefix(h.group, strings.TrimSuffix(h.root, "/"))
		for g := path.Clean("/" + group); ; g = path.Dir(g) {
			name := path.Join(h.mount, g, h.file)
			s, err := readList(root, name)
			switch {
			case err == nil && s.Count() > 0:
				return s, name, nil
			case err != nil && !unreadable(err):
				return CPUSet{}, "", fmt.Errorf("cgroup cpuset: %w", err)
			}
			if g == "/" {
				break
			}
		}
	}
	return CPUSet{}, "", nil
}

func unreadable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid)
}

// hierarchies lists where a cpuset may be: the version 1 controller, whose
// presence means that version 2 has none, then version 2.
func hierarchies(root fs.FS) []hierarchy {
	groups, err := readText(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var v1, v2 []hierarchy
	for line := range strings.Lines(groups) {
		// hierarchy-ID:controllers:path
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[0] == "0" && fields[1] == "":
			v2 = append(v2, hierarchy{mount: "sys/fs/cgroup", group: fields[2], file: "cpuset.cpus.effective"})
		case contains(fields[1], "cpuset"):
			v1 = append(v1, hierarchy{mount: "sys/fs/cgroup/cpuset", group: fields[2], file: "cpuset.effective_cpus"})
		}
	}
	mounts, err := readText(root, "proc/self/mountinfo")
	if err == nil {
		for i := range v1 {
			v1[i].locate(mounts, func(kind, options string) bool { return kind == "cgroup" && contains(options, "cpuset") })
		}
		for i := range v2 {
			v2[i].locate(mounts, func(kind, _ string) bool { return kind == "cgroup2" })
		}
	}
	return append(v1, v2...)
}

func contains(list, word string) bool {
	for w := range strings.SplitSeq(list, ",") {
		if w == word {
			return true
		}
	}
	return false
}

// locate finds the mount point in mountinfo, whose lines are
//
//	ID parent major:minor root mount-point options [tags...] - kind source super-options
func (h *hierarchy) locate(mounts string, is func(kind, superOptions string) bool) {
	for line := range strings.Lines(mounts) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if ok && len(l) >= 5 && len(r) >= 3 && is(r[0], r[2]) {
			h.root, h.mount = l[3], strings.TrimPrefix(l[4], "/")
			return
		}
	}
}
