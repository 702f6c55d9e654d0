package metrics_test

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// family is one metric as a reader of the text format sees it.
type family struct {
	kind, help string
	samples    []sample
}

type sample struct {
	name   string
	labels map[string]string
	value  float64
}

func (s sample) key() string { return fmt.Sprint(s.name, s.labels) }

var (
	helpLine   = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)`)
	unescape   = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

// parse reads a page in the text format 0.0.4 and is stricter than Prometheus:
// every family has HELP and TYPE, once, before its samples, which are together;
// no sample repeats; counters and histogram parts are named as the convention
// wants; histograms are complete and cumulative.
func parse(page string) (map[string]*family, error) {
	if !strings.HasSuffix(page, "\n") {
		return nil, fmt.Errorf("the last line does not end")
	}
	families := map[string]*family{}
	seen := map[string]bool{}
	var name string // of the family being read
	for _, text := range strings.Split(strings.TrimSuffix(page, "\n"), "\n") {
		if m := helpLine.FindStringSubmatch(text); m != nil {
			name = m[1]
			if families[name] != nil {
				return nil, fmt.Errorf("second HELP of %s", name)
			}
			families[name] = &family{help: unescape.Replace(m[2])}
			continue
		}
		f := families[name]
		if m := typeLine.FindStringSubmatch(text); m != nil {
			if m[1] != name || f.kind != "" || len(f.samples) > 0 {
				return nil, fmt.Errorf("misplaced %q", text)
			}
			f.kind = m[2]
			continue
		}
		s, err := parseSample(text)
		if err != nil {
			return nil, err
		}
		if f == nil || f.kind == "" || !belongs(s, name, f.kind) {
			return nil, fmt.Errorf("%q is outside of its family", text)
		}
		if seen[s.key()] {
			return nil, fmt.Errorf("%q repeats a sample", text)
		}
		seen[s.key()] = true
		f.samples = append(f.samples, s)
	}
	for name, f := range families {
		if err := f.check(name); err != nil {
			return nil, err
		}
	}
	return families, nil
}

func parseSample(text string) (sample, error) {
	m := sampleLine.FindStringSubmatch(text)
	if m == nil {
		return sample{}, fmt.Errorf("not a sample: %q", text)
	}
	s := sample{name: m[1], labels: map[string]string{}}
	for rest := m[2]; rest != ""; {
		pair := labelPair.FindStringSubmatch(rest)
		if pair == nil {
			return sample{}, fmt.Errorf("bad labels at %q in %q", rest, text)
		}
		if _, twice := s.labels[pair[1]]; twice {
			return sample{}, fmt.Errorf("label twice in %q", text)
		}
		s.labels[pair[1]] = unescape.Replace(pair[2])
		rest = rest[len(pair[0]):]
	}
	var err error
	s.value, err = strconv.ParseFloat(m[3], 64)
	return s, err
}

func belongs(s sample, name, kind string) bool {
	if kind != "histogram" {
		return s.name == name
	}
	part, ok := strings.CutPrefix(s.name, name)
	_, le := s.labels["le"]
	return ok && (part == "_bucket" && le || (part == "_sum" || part == "_count") && !le)
}

func (f *family) check(name string) error {
	if f.kind == "" || f.help == "" {
		return fmt.Errorf("%s has no TYPE or no HELP", name)
	}
	if strings.HasSuffix(name, "_total") != (f.kind == "counter") {
		return fmt.Errorf("%s is a %s", name, f.kind)
	}
	if f.kind != "histogram" {
		return nil
	}
	// One histogram for each set of labels: its buckets, its sum, its count.
	bound, below, sum, whole := math.Inf(-1), -1.0, -1.0, false
	for _, s := range f.samples {
		switch s.name {
		case name + "_sum":
			sum = s.value
		case name + "_count":
			if !math.IsInf(bound, 1) || below != s.value || sum < 0 {
				return fmt.Errorf("%s: last bucket %v holds %v of %v, sum %v", name, bound, below, s.value, sum)
			}
			bound, below, sum, whole = math.Inf(-1), -1, -1, true
		default:
			le, err := strconv.ParseFloat(s.labels["le"], 64)
			if err != nil || le <= bound || s.value < below {
				return fmt.Errorf("%s: bucket %v is not above the one before", name, s)
			}
			bound, below, whole = le, s.value, false
		}
	}
	if !whole {
		return fmt.Errorf("%s: no count at the end", name)
	}
	return nil
}
