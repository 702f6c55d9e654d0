package router

import (
	"maps"
	"slices"
)

// Router is a finished table. It never changes.
type Router struct {
	hosts      hosts
	nodes      []node // nodes[0] stands for none
	targets    []endpoint
	words      dictionary
	edges      edges
	params     []string // the names of each route's parameters, routes with the same ones share them
	extensions []string

	conditional bool // some route has a condition
}

// Conditional says that some route has a condition, so that lookups need Match.Holds.
func (r *Router) Conditional() bool { return r.conditional }

// node is one state of a trie, reached by the segments so far.
type node struct {
	mask  uint32 // methods of all the routes at and below this node
	param uint32 // child for a parameter, 0 for none
	leaf  uint32 // index in targets of the routes that end here, 0 for none
	tail  uint32 // likewise for the routes whose tail begins here
	// The literal children: none with words 0, this one with words 1, else those in Router.edges.
	words   uint32
	text    uint32 // offset of the child's segment in Router.words.text
	textLen uint32
	child   uint32
}

// endpoint is what a lookup ends in. Those of one node follow one another, those with a condition first; the masks of
// those with none, or with the same, don't overlap.
type endpoint struct {
	mask   uint32
	value  int32
	where  uint32 // set of the segments that are parameters
	params uint32 // index in Router.params of the first name
	tail   uint8  // segments before the tail, noTail without one
	count  uint8  // parameters, with the tail
	more   bool   // another one of the same node follows

	condition uint8 // 0: none
}

const noTail = 255

// layout is the state of Build.
type layout struct {
	r      *Router
	b      *Builder
	words  map[string]uint32 // number of each literal segment
	edges  []edge
	params map[string]uint32 // where in Router.params a list of names begins
}

// Build lays the routes out. The Builder can go on being used, the Router does not notice.
func (b *Builder) Build() *Router {
	r := &Router{
		nodes:      make([]node, 1, 1+b.count()),
		targets:    make([]endpoint, 1, 1+len(b.routes)),
		extensions: slices.Clone(b.extensions),
	}
	l := layout{r: r, b: b, words: make(map[string]uint32), params: make(map[string]uint32)}
	for _, h := range b.hosts {
		l.collect(h.root)
	}
	words := slices.Sorted(maps.Keys(l.words))
	r.words = newDictionary(words)
	for _, w := range words {
		l.words[w] = r.words.number([]byte(w))
	}
	list, names := make([]host, 1, 1+len(b.hosts)), []byte(nil)
	for _, key := range slices.Sorted(maps.Keys(b.hosts)) {
		h := b.hosts[key]
		list = append(list, host{name: uint32(len(names)), len: uint16(len(h.name)), wildcard: h.wildcard, root: l.node(h.root)})
		names = append(names, h.name...)
	}
	r.hosts = newHosts(list, names)
	r.edges = newEdges(l.edges)
	r.targets = slices.Clip(r.targets)
	r.params = slices.Clip(r.params)
	return r
}

func (b *Builder) count() (n int) {
	for _, h := range b.hosts {
		n += h.root.count()
	}
	return n
}

func (n *branch) count() int {
	total := 1
	for _, c := range n.exact {
		total += c.count()
	}
	if n.param != nil {
		total += n.param.count()
	}
	return total
}

// collect gathers the literal segments.
func (l *layout) collect(n *branch) {
	for text, c := range n.exact {
		l.words[text] = 0
		l.collect(c)
	}
	if n.param != nil {
		l.collect(n.param)
	}
}

// node lays out a branch, parents before children, and returns its index.
func (l *layout) node(n *branch) uint32 {
	at := uint32(len(l.r.nodes))
	l.r.nodes = append(l.r.nodes, node{})
	var laid node
	laid.leaf = l.endpoints(n.leaves, false, &laid.mask)
	laid.tail = l.endpoints(n.tails, true, &laid.mask)
	laid.words = uint32(len(n.exact))
	for _, text := range slices.Sorted(maps.Keys(n.exact)) {
		child := l.node(n.exact[text])
		laid.mask |= l.r.nodes[child].mask
		if laid.words > 1 {
			l.edges = append(l.edges, edge{at, l.words[text], child})
		} else {
			laid.text, laid.textLen, laid.child = l.words[text], uint32(len(text)), child
		}
	}
	if n.param != nil {
		laid.param = l.node(n.param)
		laid.mask |= l.r.nodes[laid.param].mask
	}
	l.r.nodes[at] = laid
	return at
}

// endpoints lays out the routes of one place: those with a condition in the order in which they were added, then those
// that name methods, then the one for all the others. A route for GET answers HEAD as well, unless another one of the
// same place, and with none, names HEAD (RFC 9110 9.3.2).
func (l *layout) endpoints(list []target, isTail bool, all *uint32) uint32 {
	if len(list) == 0 {
		return 0
	}
	first := uint32(len(l.r.targets))
	var plain []target
	for _, t := range list {
		if t.condition == 0 {
			plain = append(plain, t)
			continue
		}
		e := l.endpoint(&t, isTail)
		if t.mask == 0 {
			e.mask = allMethods
		} else if t.mask&getBit != 0 {
			e.mask |= headBit
		}
		*all |= e.mask
		l.r.targets = append(l.r.targets, e)
		l.r.conditional = true
	}
	l.plain(plain, isTail, all)
	l.r.targets[len(l.r.targets)-1].more = false
	return first
}

func (l *layout) endpoint(t *target, isTail bool) endpoint {
	e := endpoint{mask: t.mask, value: t.value, where: t.where, tail: noTail, count: uint8(len(t.params)), more: true, condition: t.condition}
	e.params = l.names(t.params)
	if isTail {
		e.tail = uint8(t.depth)
	}
	return e
}

// plain lays out those without a condition.
func (l *layout) plain(list []target, isTail bool, all *uint32) {
	named := uint32(0)
	for _, t := range list {
		named |= t.mask
	}
	if named&getBit != 0 {
		named |= headBit
	}
	var rest *endpoint
	for _, t := range list {
		e := l.endpoint(&t, isTail)
		if t.mask == 0 {
			e.mask = allMethods &^ named
			rest = &e
			continue
		}
		if t.mask&getBit != 0 && !namesHead(list) {
			e.mask |= headBit
		}
		l.r.targets = append(l.r.targets, e)
	}
	if rest != nil {
		l.r.targets = append(l.r.targets, *rest)
		named = allMethods
	}
	*all |= named
}

func namesHead(list []target) bool {
	return slices.ContainsFunc(list, func(t target) bool { return t.mask&headBit != 0 })
}

// names stores a route's parameter names, once for all the routes that have the same.
func (l *layout) names(params []string) uint32 {
	if len(params) == 0 {
		return 0
	}
	key := ""
	for _, p := range params {
		key += "/" + p // no name has a slash
	}
	at, ok := l.params[key]
	if !ok {
		at = uint32(len(l.r.params))
		l.r.params = append(l.r.params, params...)
		l.params[key] = at
	}
	return at
}
