package router

import (
	"slices"
	"strconv"
	"strings"
)

// Mismatch says what of a request keeps a route of host, path and methods (as Builder.Add takes them) from answering
// it, in words; "": nothing does, so that the most specific of such routes answers. askedHost and askedPath are as
// Lookup takes them. It is for people who ask, not for requests: it allocates.
func Mismatch(host, path string, methods []string, askedHost, askedPath []byte, method string) string {
	name, wildcard, err := parseHost(host)
	if err != nil {
		return err.Error()
	}
	asked := strings.ToLower(string(trimPort(askedHost)))
	switch {
	case wildcard && name == "": // any host
	case wildcard && !strings.HasSuffix(asked, "."+name):
		return "its host is *." + name
	case !wildcard && asked != name:
		return "its host is " + name
	}
	segments, err := parsePattern(path)
	if err != nil {
		return err.Error()
	}
	if why := mismatchOfPath(segments, string(askedPath)); why != "" {
		return why
	}
	// RFC 9110 9.3.2: what answers GET answers HEAD.
	if len(methods) > 0 && !slices.Contains(methods, method) && (method != "HEAD" || !slices.Contains(methods, "GET")) {
		return "it is for " + strings.Join(methods, ", ")
	}
	return ""
}

func mismatchOfPath(segments []segment, path string) string {
	if !strings.HasPrefix(path, "/") {
		return "the path does not begin with /"
	}
	asked := strings.Split(path[1:], "/")
	for i, s := range segments {
		switch {
		case i >= len(asked):
			return "the path ends before segment " + strconv.Itoa(i+1) + ", " + s.pattern()
		case s.kind == tail:
			return ""
		case s.kind == param && asked[i] == "":
			return "segment " + strconv.Itoa(i+1) + ", " + s.pattern() + ", is empty in the request"
		case s.kind == literal && s.text != asked[i]:
			return "segment " + strconv.Itoa(i+1) + " is " + s.pattern() + ", in the request " + strconv.Quote(asked[i])
		}
	}
	if len(asked) > len(segments) {
		return "the path goes on with " + strconv.Quote("/"+strings.Join(asked[len(segments):], "/"))
	}
	return ""
}

// pattern is s as a route's path has it.
func (s segment) pattern() string {
	switch {
	case s.kind == param:
		return ":" + s.text
	case s.kind == tail:
		return "*" + strings.TrimPrefix(s.text, "*")
	}
	return strconv.Quote(s.text)
}
