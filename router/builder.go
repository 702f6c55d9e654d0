package router

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"zproxy/proto"
)

// MaxAlternatives is how many nodes of one host's trie may match the same leading segments of some path. Two routes
// double it where one has a literal and the other a parameter and both go on; real tables need a handful.
const MaxAlternatives = 32

// Builder collects routes. It is used by one goroutine.
type Builder struct {
	hosts      map[string]*hostBranch // keyed by name, wildcards by "*." + name, any host by "*."
	extensions []string
	routes     []source
}

// hostBranch is one host's trie while it is built.
type hostBranch struct {
	name     string
	wildcard bool
	root     *branch
}

// source is a route as it was added, for the errors of later ones.
type source struct {
	host, path, methods string
	condition           int
}

// branch is a trie node while it is built.
type branch struct {
	exact  map[string]*branch
	param  *branch
	leaves []target // routes that end here
	tails  []target // routes whose tail begins here
	// Upper bounds of how many nodes below match the same path, by depth below this node: through literals alone, and
	// altogether (which begins with this node itself).
	exactWidth, width []uint16
}

// target is what one route contributes to a node.
type target struct {
	mask   uint32 // the methods it names, 0 for all
	route  int    // in Builder.routes
	value  int32
	params []string
	where  uint32 // set of the segments that are parameters; a tail is not among them
	depth  int    // segments before the tail

	condition uint8 // 0: none
}

// NewBuilder gives an empty Builder.
func NewBuilder() *Builder { return &Builder{hosts: make(map[string]*hostBranch)} }

// Add adds a route: host "" (or "*") for any, a name, or "*.suffix"; path as docs/routing.md describes it; methods
// empty for all. value comes back in Match. An error says what is wrong and names the route it clashes with, if any;
// the route is then not in the table.
func (b *Builder) Add(host, path string, methods []string, value int32) error {
	return b.AddIf(0, host, path, methods, value)
}

// MaxConditions is the largest number a condition may have.
const MaxConditions = 63

// AddIf adds a route that is there only for requests for which a condition holds, by the caller's number for it from 1 on
// (see Match.Holds). At the same host and path it comes before routes without one, among others in the order in
// which they were added. Where it does not hold the lookup goes on as if the route were not there.
func (b *Builder) AddIf(condition int, host, path string, methods []string, value int32) error {
	src := source{host, path, strings.Join(methods, ","), condition}
	name, wildcard, err := parseHost(host)
	if err != nil {
		return errors.New("route " + src.String() + ": " + err.Error())
	}
	segments, err := parsePattern(path)
	if err != nil {
		return errors.New("route " + src.String() + ": " + err.Error())
	}
	mask, err := b.methodMask(methods)
	if err != nil {
		return errors.New("route " + src.String() + ": " + err.Error())
	}
	key := name
	if wildcard {
		key = "*." + name
	}
	h := b.hosts[key]
	if h == nil {
		h = &hostBranch{name: name, wildcard: wildcard, root: &branch{}}
	}
	t := target{mask: mask, route: len(b.routes), value: value, depth: len(segments), condition: uint8(condition)}
	for i, s := range segments {
		if s.kind != literal {
			t.params = append(t.params, s.text)
		}
		if s.kind == param {
			t.where |= 1 << i
		}
	}
	if err := b.insert(h.root, segments, t, src); err != nil {
		return err
	}
	b.hosts[key] = h
	b.routes = append(b.routes, src)
	return nil
}

// insert puts the route in its place, unless another one has it or the trie would get too ambiguous.
func (b *Builder) insert(root *branch, segments []segment, t target, src source) error {
	path := make([]*branch, 1, MaxSegments+1) // from the root; nil where the trie has to grow
	path[0] = root
	literals := segments
	hasTail := segments[len(segments)-1].kind == tail
	if hasTail {
		literals = segments[:len(segments)-1]
		t.depth--
	}
	for i, s := range literals {
		path = append(path, path[i].child(s))
	}
	end := path[len(path)-1]
	if end != nil {
		taken := end.leaves
		if hasTail {
			taken = end.tails
		}
		for _, other := range taken {
			if other.condition == t.condition && (other.mask&t.mask != 0 || other.mask == t.mask) {
				return errors.New("route " + src.String() + " matches the same requests as route " +
					b.routes[other.route].String())
			}
		}
	} else if most := widest(path, literals); most > MaxAlternatives {
		return errors.New("route " + src.String() + " is one alternative too many: a path could match " +
			strconv.Itoa(int(most)) + " ways into the routes of this host, where " + strconv.Itoa(MaxAlternatives) +
			" is the limit; use fewer routes that have a parameter where others have a literal segment")
	}
	for i, s := range literals {
		if path[i+1] == nil {
			path[i+1] = path[i].grow(s)
		}
	}
	end = path[len(path)-1]
	if hasTail {
		end.tails = append(end.tails, t)
	} else {
		end.leaves = append(end.leaves, t)
	}
	for i := len(literals) - 1; i >= 0; i-- {
		path[i].widen(literals[i].kind, path[i+1].widths())
	}
	return nil
}

func (n *branch) child(s segment) *branch {
	switch {
	case n == nil:
		return nil
	case s.kind == param:
		return n.param
	}
	return n.exact[s.text]
}

func (n *branch) grow(s segment) *branch {
	c := &branch{}
	if s.kind == param {
		n.param = c
	} else {
		if n.exact == nil {
			n.exact = make(map[string]*branch)
		}
		n.exact[s.text] = c
	}
	return c
}

// one is the width of a node with nothing below it.
var one = []uint16{1}

func (n *branch) widths() []uint16 {
	if n == nil || n.width == nil {
		return one
	}
	return n.width
}

// widen takes in that the child of this kind has these widths now. Widths only grow.
func (n *branch) widen(kind segmentKind, below []uint16) {
	if kind == literal {
		n.exactWidth = upper(n.exactWidth, below)
	}
	n.width = n.joined(n.exactWidth, n.param)
}

// joined is the width of a node: itself, then what a path can match through a literal and the parameter together.
func (n *branch) joined(exact []uint16, param *branch) []uint16 {
	var below []uint16
	if param != nil {
		below = param.widths()
	}
	width := append(make([]uint16, 0, 1+max(len(exact), len(below))), 1)
	for i := range max(len(exact), len(below)) {
		sum := uint16(0)
		if i < len(exact) {
			sum += exact[i]
		}
		if i < len(below) {
			sum += below[i]
		}
		width = append(width, sum)
	}
	return width
}

// upper gives the element-wise maximum, in a's storage when that is long enough.
func upper(a, b []uint16) []uint16 {
	for len(a) < len(b) {
		a = append(a, 0)
	}
	for i, w := range b {
		a[i] = max(a[i], w)
	}
	return a
}

// widest is the widest level the trie would have with the nodes that path lacks, without adding them.
func widest(path []*branch, literals []segment) uint16 {
	below := one
	for i := len(literals) - 1; i >= 0; i-- {
		n := path[i]
		if n == nil {
			n = &branch{}
		}
		if literals[i].kind == literal {
			below = n.joined(upper(slices.Clone(n.exactWidth), below), n.param)
		} else {
			below = n.joined(n.exactWidth, &branch{width: below})
		}
	}
	return slices.Max(below)
}

func (b *Builder) methodMask(methods []string) (mask uint32, err error) {
	for _, name := range methods {
		if !isToken(name) || len(name) > maxMethodNameLen {
			return 0, errors.New("no method can be called " + strconv.Quote(name))
		}
		m := proto.ParseMethod([]byte(name))
		if m == proto.MethodOther && proto.ParseMethod([]byte(strings.ToUpper(name))) != proto.MethodOther {
			return 0, errors.New("methods are case-sensitive: write " + strings.ToUpper(name) + " instead of " + name)
		}
		bit := methodBit(m, []byte(name), b.extensions)
		if bit == otherBit {
			if len(b.extensions) == MaxExtensions {
				return 0, errors.New("method " + name + " is one too many: beside the standard ones a table names at most " +
					strconv.Itoa(MaxExtensions))
			}
			b.extensions = append(b.extensions, name)
			bit = methodBit(m, []byte(name), b.extensions)
		}
		mask |= bit
	}
	return mask, nil
}

// String describes the route as "GET,HEAD example.com/path".
func (s source) String() string {
	text := s.host + s.path
	if s.methods != "" {
		text = s.methods + " " + text
	}
	return text
}
