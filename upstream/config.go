package upstream

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Balance says how the endpoint of a request is chosen.
type Balance uint8

const (
	RoundRobin Balance = iota // smooth weighted round robin, each loop its own
	LeastConn                 // fewest busy connections per weight over all loops
	P2C                       // the less busy of two picked at random by weight
	LeastTime                 // the least mean response time times requests under way, per weight
	Random                    // at random by weight
	RingHash                  // by key: points on a ring
	Maglev                    // by key: a table of slots
)

func (b Balance) String() string {
	switch b {
	case LeastConn:
		return "least_conn"
	case P2C:
		return "p2c"
	case LeastTime:
		return "least_time"
	case Random:
		return "random"
	case RingHash:
		return "ring_hash"
	case Maglev:
		return "maglev"
	}
	return "round_robin"
}

// ParseBalance reads the names the configuration uses; "" is round_robin.
func ParseBalance(name string) (Balance, error) {
	switch name {
	case "", "round_robin":
		return RoundRobin, nil
	case "least_conn":
		return LeastConn, nil
	case "p2c":
		return P2C, nil
	case "least_time":
		return LeastTime, nil
	case "random":
		return Random, nil
	case "ring_hash":
		return RingHash, nil
	case "maglev":
		return Maglev, nil
	}
	return 0, fmt.Errorf("upstream: balance %q: expected round_robin, least_conn, least_time, p2c, random, ring_hash or maglev", name)
}

// takesTurns: the choice depends on the choices before it.
func (b Balance) takesTurns() bool { return b == RoundRobin || b == LeastConn }

// comparesBusy: the choice depends on Endpoint.busy.
func (b Balance) comparesBusy() bool { return b == LeastConn || b == P2C || b == LeastTime }

// byKey: requests with the same key go to the same endpoint.
func (b Balance) byKey() bool { return b == RingHash || b == Maglev }

// MaxEndpoints bounds the endpoints of one cluster.
const MaxEndpoints = 4096

// MaxSlots bounds how many different ones it has while it is there.
const MaxSlots = 2 * MaxEndpoints

// EndpointConfig is one origin. Address is ip:port, name:port or unix:/path;
// Weight 0 means 1.
type EndpointConfig struct {
	Address  string
	Weight   int
	Priority int    // of its tier: 0 to MaxPriority, the least first
	Backup   bool   // it serves only when no other is up; Priority does not count
	Zone     string // "": none
}

// Config describes a cluster. Zero durations of the fail back-off take the
// defaults below; a zero IdleTimeout keeps idle connections for ever.
type Config struct {
	Name      string
	Labels    map[string]string // that all endpoints have, where it is a subset of an upstream; nil: it is all of it
	Balance   Balance
	Endpoints []EndpointConfig

	// Anonymous: the caller's connections are permits to make one, which it does not
	// tell apart. Whatever it puts back is taken; Remove finds none.
	Anonymous bool

	MaxConnections int // per endpoint, over all loops; 0: no limit
	MaxIdle        int // per endpoint, over all loops; 0: nothing is kept
	Prewarm        int // per endpoint, over all loops
	MaxRequests    int // under way, over all loops; 0: no limit
	Queue          int // waiting requests, over all loops; 0: none may wait

	IdleTimeout  time.Duration
	QueueTimeout time.Duration // also the age up to which an outage of all endpoints makes requests wait

	ConnectTimeout  time.Duration
	ResponseTimeout time.Duration
	StreamTimeout   time.Duration // no byte either way while a message is under way

	FailBackoff    time.Duration // after the first failure; doubles with each further one
	FailBackoffMax time.Duration
	FailResponses  int // failed responses in a row that mark an endpoint down

	// Slots is how many different endpoints there can be, which come and go: see
	// Cluster.SetEndpoints. 0: Endpoints are there, always; else those are empty.
	Slots       int
	Zone        string        // that the proxy is in: endpoints of it are preferred; "": none is
	SlowStart   time.Duration // in which the share of an endpoint grows that comes up, see Cluster.Grow; 0: at once
	LoadPercent int           // balancing by key: of its share of the requests under way, that an endpoint may have, 120 to 200; 0: all

	StickySecret string // tokens are made with, see Pool.Sticks; "": there are none

	CheckFirst bool // an address gets no requests before Cluster.Checked has said that it is up
	Outlier    Outlier
	Retries    RetryBudget
	Adaptive   AdaptiveConcurrency
}

// What zero values of the fail back-off mean.
const (
	DefaultFailBackoff    = 100 * time.Millisecond
	DefaultFailBackoffMax = 10 * time.Second
	DefaultFailResponses  = 5
)

// Equal reports whether a cluster built from c can serve for o unchanged, with
// its connections, failures and waiters. A value left out equals its default.
func (c *Config) Equal(o *Config) bool {
	a, b := *c, *o
	a.setDefaults()
	b.setDefaults()
	return a.scalars() == b.scalars() && slices.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Labels, b.Labels)
}

// configScalars is Config without its slice and map, and so comparable. A test goes
// through the fields of Config lest one be forgotten.
type configScalars struct {
	name, zone                                 string
	balance                                    Balance
	anonymous                                  bool
	maxConnections, maxIdle, prewarm, queue    int
	maxRequests                                int
	idleTimeout, queueTimeout                  time.Duration
	connectTimeout, responseTimeout, streamTmo time.Duration
	failBackoff, failBackoffMax                time.Duration
	slowStart                                  time.Duration
	failResponses, slots, loadPercent          int
	checkFirst                                 bool
	outlier                                    Outlier
	retries                                    RetryBudget
	stickySecret                               string
	adaptive                                   AdaptiveConcurrency
}

func (c *Config) scalars() configScalars {
	return configScalars{
		c.Name, c.Zone, c.Balance, c.Anonymous,
		c.MaxConnections, c.MaxIdle, c.Prewarm, c.Queue, c.MaxRequests,
		c.IdleTimeout, c.QueueTimeout,
		c.ConnectTimeout, c.ResponseTimeout, c.StreamTimeout,
		c.FailBackoff, c.FailBackoffMax, c.SlowStart, c.FailResponses, c.Slots, c.LoadPercent, c.CheckFirst, c.Outlier, c.Retries, c.StickySecret, c.Adaptive,
	}
}

const maxWeight = 1 << 16

// validate checks what the data structures rely on, after setDefaults.
func (c *Config) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("upstream %q: %s", c.Name, fmt.Sprintf(format, args...))
	}
	if c.Slots < 0 || c.Slots > MaxSlots || c.Slots > 0 && len(c.Endpoints) > 0 {
		return bad("has %d slots and %d endpoints, expected either, and at most %d slots", c.Slots, len(c.Endpoints), MaxSlots)
	}
	if n := len(c.Endpoints); c.Slots == 0 && n < 1 || n > MaxEndpoints {
		return bad("has %d endpoints, expected 1 to %d", n, MaxEndpoints)
	}
	for _, e := range c.Endpoints {
		if e.Weight < 0 || e.Weight > maxWeight {
			return bad("endpoint %q: weight %d, expected 1 to %d", e.Address, e.Weight, maxWeight)
		}
		if e.Priority < 0 || e.Priority > MaxPriority {
			return bad("endpoint %q: priority %d, expected 0 to %d", e.Address, e.Priority, MaxPriority)
		}
		if _, err := ParseAddress(e.Address); err != nil {
			return bad("endpoint %v", err)
		}
	}
	if n := c.LoadPercent; n != 0 && (n < 120 || n > 200) {
		return bad("hash_balance_factor is %d, expected 0 or 120 to 200", n)
	}
	for _, v := range []struct {
		name string
		n    int
	}{
		{"max_connections", c.MaxConnections}, {"max_idle", c.MaxIdle},
		{"prewarm", c.Prewarm}, {"max_requests", c.MaxRequests}, {"queue", c.Queue}, {"fail_responses", c.FailResponses},
	} {
		if v.n < 0 || v.n > 1<<30 {
			return bad("%s is %d, expected 0 to %d", v.name, v.n, 1<<30)
		}
	}
	return nil
}

func (c *Config) setDefaults() {
	c.Endpoints = slices.Clone(c.Endpoints)
	for i := range c.Endpoints {
		if e := &c.Endpoints[i]; e.Weight == 0 {
			e.Weight = 1
		}
	}
	if c.FailBackoff <= 0 {
		c.FailBackoff = DefaultFailBackoff
	}
	if c.FailBackoffMax <= 0 {
		c.FailBackoffMax = DefaultFailBackoffMax
	}
	c.FailBackoffMax = max(c.FailBackoffMax, c.FailBackoff)
	if c.FailResponses == 0 {
		c.FailResponses = DefaultFailResponses
	}
}

// Address is a parsed endpoint address. Exactly one of Static and Host is set:
// Static is what can be dialled as it is, Host a name to resolve.
type Address struct {
	Static string
	Host   string
	Port   string
}

// ParseAddress reads ip:port, [ip6]:port, name:port or unix:/path.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" || (path[0] != '/' && path[0] != '@') {
			return Address{}, fmt.Errorf("address %q: expected unix:/path", s)
		}
		return Address{Static: s}, nil
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		if ap.Port() == 0 {
			return Address{}, fmt.Errorf("address %q: port 0 cannot be connected to", s)
		}
		return Address{Static: ap.String()}, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return Address{}, fmt.Errorf("address %q: expected ip:port, name:port or unix:/path", s)
	}
	host, port := s[:i], s[i+1:]
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Address{}, fmt.Errorf("address %q: port %q, expected 1 to 65535", s, port)
	}
	if !isHostName(host) {
		return Address{}, fmt.Errorf("address %q: %q is neither an IP address nor a host name", s, host)
	}
	return Address{Host: host, Port: port}, nil
}

// isHostName accepts what RFC 1123 2.1 calls a host name, and the underscore
// that service names in the field carry. All digits and dots would be a
// mistyped IPv4 address (RFC 3696 2), not a name.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	letter := false
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			switch b := label[i]; {
			case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b == '_':
				letter = true
			case b >= '0' && b <= '9', b == '-':
			default:
				return false
			}
		}
	}
	return letter
}
