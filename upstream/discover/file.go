package discover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"zproxy/upstream"
)

const (
	// fileInterval is how often the file is looked at. It is read once it looks the same twice:
	// who writes it may not be done.
	fileInterval = 100 * time.Millisecond
	// filePatience is for how long a file that is no good is taken for half of what is to come.
	filePatience = time.Second
	maxFileBytes = 16 << 20
)

// file reads a list of endpoints, and reads it again when it has changed. Names are followed, so
// that a link that is turned counts.
type file struct{ path string }

func (f *file) Run(ctx context.Context, to Sink) {
	tick := time.NewTicker(fileInterval)
	defer tick.Stop()
	var seen, told string // how it looked at the last look, and when there was something to tell
	var since time.Time
	good := false // what was told
	for {
		now := time.Now()
		looks, err := look(f.path)
		settled := looks == seen || told == ""
		if looks != seen {
			seen, since = looks, now
		}
		switch {
		case looks == told && good:
			to.Same()
		case looks == told || !settled:
		default:
			var list []Endpoint
			if err == nil {
				list, err = readFile(f.path)
			}
			switch {
			case err == nil:
				to.Found(list)
				told, good = looks, true
			case now.Sub(since) >= filePatience || told == "" && errors.Is(err, fs.ErrNotExist):
				to.Failed(fmt.Errorf("%s: %w", f.path, err))
				told, good = looks, false
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look is how a file looks: which one it is, and when it was written.
func look(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		err = plain(err)
		return err.Error(), err
	}
	looks := fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		looks += fmt.Sprint(" ", st.Ino, st.Ctim.Nano())
	}
	return looks, nil
}

// plain is err without the name of the file.
func plain(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// ReadFile is the list in a file, or what is wrong with it.
func ReadFile(path string) ([]Endpoint, error) {
	list, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

func readFile(path string) ([]Endpoint, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	switch {
	case err != nil:
		return nil, plain(err)
	case len(data) > maxFileBytes:
		return nil, fmt.Errorf("more than %d MiB", maxFileBytes>>20)
	}
	return parseFile(data)
}

// parseFile reads a list of endpoints, or a mapping with one under "endpoints". JSON is YAML.
func parseFile(data []byte) ([]Endpoint, error) {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty: a list without endpoints is []")
	} else if err != nil {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the list")
	}
	root := doc.Content[0]
	if root.Kind == yaml.MappingNode && len(root.Content) == 2 && root.Content[0].Value == "endpoints" {
		root = root.Content[1]
	}
	if root.Kind != yaml.SequenceNode {
		return nil, fmt.Errorf("line %d: expected a list of endpoints", root.Line)
	}
	list := make([]Endpoint, len(root.Content))
	for i, n := range root.Content {
		if err := parseEndpoint(n, &list[i]); err != nil {
			return nil, err
		}
	}
	return tidied(list)
}

// parseEndpoint reads an address, or a mapping.
func parseEndpoint(n *yaml.Node, e *Endpoint) error {
	e.Weight = 1
	switch n.Kind {
	case yaml.ScalarNode:
		e.Address = n.Value
		return nil
	case yaml.MappingNode:
	default:
		return fmt.Errorf("line %d: expected an address, or a mapping with one", n.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		bad := func(want string) error {
			return fmt.Errorf("line %d: %s is %q, expected %s", v.Line, key, v.Value, want)
		}
		if seen[key] {
			return fmt.Errorf("line %d: %s is there twice", v.Line, key)
		}
		seen[key] = true
		switch key {
		case "address":
			e.Address = v.Value
		case "weight":
			w, err := strconv.Atoi(v.Value)
			if err != nil || w < 1 || w > 256 {
				return bad("1 to 256")
			}
			e.Weight = w
		case "priority":
			priority, err := strconv.Atoi(v.Value)
			if err != nil || priority < 0 || priority > upstream.MaxPriority {
				return bad("0 to " + strconv.Itoa(upstream.MaxPriority))
			}
			e.Priority = priority
		case "backup":
			if e.Backup = v.Value == "true"; !e.Backup && v.Value != "false" {
				return bad("true or false")
			}
		case "zone":
			e.Zone = v.Value
		case "labels":
			if v.Decode(&e.Labels) != nil {
				return bad("a mapping of texts")
			}
		case "state":
			if e.Draining = v.Value == "draining"; !e.Draining && v.Value != "ready" {
				return bad("ready or draining")
			}
		default:
			return fmt.Errorf("line %d: %q is not known: address, weight, priority, backup, zone, labels and state are", n.Content[i].Line, key)
		}
	}
	if e.Backup && seen["priority"] {
		return fmt.Errorf("line %d: an endpoint with priority and backup: it is one of them", n.Line)
	}
	if !seen["address"] {
		return fmt.Errorf("line %d: an endpoint without address", n.Line)
	}
	return nil
}
