package tune

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// kind says how a setting survives a restart.
type kind uint8

const (
	kindSysctl kind = iota // sysctl.d
	kindFile               // tmpfiles.d
	kindNIC                // queues and interrupts change their names: found again at each start, by a unit
)

func kindOf(file string) kind {
	switch {
	case strings.HasPrefix(file, "proc/sys/"):
		return kindSysctl
	case strings.HasPrefix(file, "proc/irq/"), strings.HasPrefix(file, classNet+"/"):
		return kindNIC
	}
	return kindFile
}

// Persist writes what Apply has changed, since the last Revert, in the forms that are applied at every start, below
// dir: sysctl.d/90-zproxy.conf, tmpfiles.d/zproxy.conf and systemd/system/zproxy-tune.service, those of them that are
// needed. dir is /etc, or a directory to look at the files first. program is the path of zproxy, for the unit, and args
// what it was told about the configuration. Revert removes the files, or puts back what was there.
func (t *Target) Persist(dir, program string, args []string, out io.Writer) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	s, err := t.loadState()
	if err != nil {
		return err
	}
	for _, f := range persistent(s.Changes, program, args) {
		path := filepath.Join(dir, f.path)
		now, exists, err := readFile(path)
		if err != nil {
			return err
		}
		if exists && now == f.text {
			continue
		}
		// Noted before it is written, as with values.
		if note := s.findFile(path); note != nil {
			note.After = f.text
		} else {
			s.Files = append(s.Files, saved{Path: path, Existed: exists, Before: now, After: f.text})
		}
		if err := t.saveState(s); err != nil {
			return err
		}
		if err := writeFile(path, f.text); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: written\n", path)
		if f.enable != "" {
			fmt.Fprintf(out, "  to have it run at every start: %s\n", f.enable)
		}
	}
	return nil
}

func (s *state) findFile(path string) *saved {
	for i := range s.Files {
		if s.Files[i].Path == path {
			return &s.Files[i]
		}
	}
	return nil
}

type persistentFile struct{ path, text, enable string }

const madeBy = "# Made by `zproxy tune apply --persist`; `zproxy tune revert` removes it.\n"

func persistent(changes []change, program string, args []string) []persistentFile {
	var sysctls, files strings.Builder
	nic := false
	for _, c := range changes {
		switch kindOf(c.File) {
		case kindSysctl:
			name := strings.ReplaceAll(strings.TrimPrefix(c.File, "proc/sys/"), "/", ".")
			fmt.Fprintf(&sysctls, "%s = %s\n", name, c.Want)
		case kindFile:
			fmt.Fprintf(&files, "w /%s - - - - %s\n", c.File, c.Want)
		case kindNIC:
			nic = true
		}
	}
	var all []persistentFile
	if sysctls.Len() > 0 {
		all = append(all, persistentFile{path: "sysctl.d/90-zproxy.conf", text: madeBy + sysctls.String()})
	}
	if files.Len() > 0 {
		all = append(all, persistentFile{path: "tmpfiles.d/zproxy.conf", text: madeBy + files.String()})
	}
	if nic {
		all = append(all, persistentFile{
			path:   "systemd/system/zproxy-tune.service",
			text:   madeBy + fmt.Sprintf(nicUnit, quoted(program), extraArgs(args)),
			enable: "systemctl enable zproxy-tune.service",
		})
	}
	return all
}

// nicUnit runs when the cards are there with all their queues, and before the proxy.
const nicUnit = `[Unit]
Description=Interrupts and queues of network cards for zproxy
Documentation=man:systemd.unit(5)
After=network-online.target
Wants=network-online.target
Before=zproxy.service

[Service]
Type=oneshot
ExecStart=%s tune apply --yes --only nic%s
RemainAfterExit=yes

[Install]
WantedBy=multi-user.target
`

func extraArgs(args []string) string {
	text := ""
	for _, a := range args {
		text += " " + quoted(a)
	}
	return text
}

// quoted writes a word of a systemd command line.
func quoted(word string) string {
	word = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(word)
	if strings.ContainsAny(word, " \t'\"") {
		return `"` + word + `"`
	}
	return word
}
