package config

import (
	"net/netip"
	"time"
)

// kind says what a value looks like in the file and what type holds it.
type kind uint8

const (
	kindText      kind = iota // *string
	kindEnum                  // *string
	kindBool                  // *bool
	kindCount                 // *int, a whole number
	kindSize                  // *Size
	kindDuration              // *time.Duration
	kindLoops                 // *Loops
	kindBatchWait             // *BatchWait
	kindMode                  // *uint32, permissions of a file in octal
	kindPrefix                // *netip.Prefix
	kindTexts                 // *[]string, each entry as elem says
	kindPrefixes              // *[]netip.Prefix, each entry as elem says
	kindPairs                 // *[]Pair, a mapping from names, as name says, to texts, as elem says
	kindPages                 // *map[int]ErrorPage
	kindLabels                // *Labels
	kindSection               // a struct: fields
	kindSections              // a slice of structs: fields, grow
	kindNamed                 // a slice of structs, a mapping from names in the file: fields, grow
)

// field is all there is to know about one key of the file.
type field struct {
	key  string
	kind kind
	// at returns a pointer to the value, given one to the struct that has it. For an optional section it allocates
	// the struct, so it is called only when the key is there.
	at func(parent any) any

	def      string // default as it would be written; "" is the zero value
	zero     string // what the zero value means, for documentation
	required bool
	optional bool // kindSection: at allocates, no defaults unless the key is there

	min, max int64    // value; bytes for sizes, nanoseconds for durations, entries for lists and mappings
	enum     []string // kindEnum
	numbers  []int64  // kindCount: the only ones allowed, when not nil
	never    bool     // kindDuration: may be Never
	figures  [2]int64 // kindText: whole numbers from the one to the other are text as well
	exactly1 []string // of these keys of each entry exactly one is there
	atLeast1 []string // kindSection: of these keys at least one is there
	want     string   // what to expect when the kind does not say enough, e.g. "an address ip:port"
	pattern  string   // the same as a regular expression for the JSON Schema; it may accept more
	// check looks at a value of the right kind and in range: text is how it is written, v its number. It returns
	// what was expected, or "".
	check func(text string, v int64) (want, hint string)

	elem   *field  // kindTexts, kindPrefixes, kindPairs
	name   *field  // kindPairs
	fields []field // kindSection, kindSections, kindNamed
	// grow makes n zero entries in the slice target points to; the function it returns gives entry i a name and a
	// position and returns a pointer to it.
	grow func(target any, n int) func(i int, name string, pos Pos) any

	// same is the top-level key with the same fields, where they are described.
	same string

	doc string // Markdown, one paragraph, for docs/configuration.md and editors
}

// at makes a field's accessor from one with types.
func at[S, F any](get func(*S) *F) func(any) any {
	return func(parent any) any { return get(parent.(*S)) }
}

// grow makes a list's grow from a function that sets name and position of an entry.
func grow[E any](set func(e *E, name string, pos Pos)) func(any, int) func(int, string, Pos) any {
	return func(target any, n int) func(int, string, Pos) any {
		list := make([]E, n)
		*target.(*[]E) = list
		return func(i int, name string, pos Pos) any {
			set(&list[i], name, pos)
			return &list[i]
		}
	}
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Bounds other code may rely on.
const (
	MaxListeners = 256     // in one file
	MaxUpstreams = 4096    // in one file
	MaxEndpoints = 4096    // of one upstream
	MaxSubsets   = 4096    // in one file
	MaxRoutes    = 1 << 20 // in one file
	MaxSegments  = 32      // of one route's path
	MaxParams    = 16      // ":name" and "*tail" segments of one route
	MaxBodyBytes = 64 << 10
)

// table describes the whole file.
func table() []field {
	return []field{
		{key: "loops", kind: kindLoops, def: "auto", at: at(func(c *Config) *Loops { return &c.Loops }),
			doc: "How many event loops run, each on a thread pinned to its own CPU. `auto` is one for every CPU the process may use " +
				"(affinity mask and cgroup); a number takes that many of them; a list such as `\"0-3,8\"` names the CPUs. " +
				"A number is a count even in quotes: CPU 5 alone is `\"5-5\"`."},
		{key: "io", kind: kindEnum, def: "auto", enum: []string{"auto", "uring", "epoll"}, at: at(func(c *Config) *string { return &c.IO }),
			doc: "The kernel interface. `auto` takes io_uring when the kernel and the process's limits allow all that is needed, else epoll, and logs why; " +
				"`uring` refuses to start without it."},
		{key: "batch_wait", kind: kindBatchWait, def: "auto", max: int64(10 * time.Millisecond), at: at(func(c *Config) *BatchWait { return &c.BatchWait }),
			doc: "How long a loop under load waits for more to do once there is something, as network cards do before they interrupt. " +
				"`auto` is 200us where more gets done that way: when clients, proxy and origins wake each other for a few requests at a time. A loop tries it for 5ms now and then, up to 32s apart, " +
				"and goes on as long as more bytes come in with it than without. With a time it waits so long unless an eighth less gets done: requests cost up to a third less CPU, " +
				"and each may take up to so much longer, to its origin and back. A loop that has little to do wakes at once all the same. 0: always wakes at once."},
		{key: "core_dumps", kind: kindEnum, def: "auto", enum: []string{"auto", "never", "always"}, at: at(func(c *Config) *string { return &c.CoreDumps }),
			doc: "Whether the kernel may write a dump of the process when it crashes. A dump has private keys and the traffic of clients in it. `auto`: not where a listener or an upstream speaks TLS; " +
				"`never`: not at all; `always`: as the system's limits say. Where it may not, other processes of the same user cannot trace it or read its memory either."},
		{key: "zone", kind: kindText, check: checkZone, want: wantZone, pattern: patternZone, at: at(func(c *Config) *string { return &c.Zone }),
			zero: "none is preferred", doc: "The zone that this process is in: of each upstream endpoints of the same `zone` are preferred, see [upstreams.md](upstreams.md#zones). `$NAME` is the value of an environment variable, so that a fleet can share one file."},
		{key: "buffers", kind: kindSection, at: at(func(c *Config) *Buffers { return &c.Buffers }), fields: bufferFields(),
			doc: "The memory received bytes live in. Every loop has its own, on its own NUMA node; it starts small, grows to the limit and is given back when idle."},
		{key: "listeners", kind: kindSections, required: true, min: 1, max: MaxListeners, fields: listenerFields(),
			at:   at(func(c *Config) *[]Listener { return &c.Listeners }),
			grow: grow(func(l *Listener, _ string, pos Pos) { l.Pos = pos }),
			doc:  "The addresses clients connect to. Every loop accepts on every one of them."},
		{key: "upstreams", kind: kindNamed, max: MaxUpstreams, fields: upstreamFields(), exactly1: []string{"endpoints", "discover"},
			at:   at(func(c *Config) *[]Upstream { return &c.Upstreams }),
			grow: grow(func(u *Upstream, name string, pos Pos) { u.Name, u.Pos = name, pos }),
			doc: "Sets of equivalent origin servers, by name. A name has letters, digits, `_`, `-` and `.`, at most 64 of them, " +
				"and is what routes, metrics and the access log call it."},
		{key: "routes", kind: kindSections, required: true, min: 1, max: MaxRoutes, fields: routeFields(), exactly1: routeActions[:],
			at:   at(func(c *Config) *[]Route { return &c.Routes }),
			grow: grow(func(r *Route, _ string, pos Pos) { r.Pos = pos }),
			doc: "Which request goes where. The order in the file has no meaning: the most specific route wins. A request that matches none is answered 404, " +
				"one that matches only with other methods 405."},
		filtersField(at(func(c *Config) *[]Filter { return &c.Filters }), "", "Filters that every request passes that a route is found for, before those of its host and of its route: see [filters.md](filters.md). "+
			"The order in the file has a meaning only among filters of the same kind: what refuses requests runs first, the cheapest of that before the others. `zproxy check` prints the order."),
		{key: "hosts", kind: kindSections, max: MaxRoutes, fields: hostFields(),
			at:   at(func(c *Config) *[]Host { return &c.Hosts }),
			grow: grow(func(h *Host, _ string, pos Pos) { h.Pos = pos }),
			doc:  "What all routes of a host have."},
		{key: "limits", kind: kindSection, at: at(func(c *Config) *Limits { return &c.Limits }), fields: limitFields(),
			doc: "What one client may ask for and how long it may take."},
		{key: "http2", kind: kindSection, at: at(func(c *Config) *HTTP2 { return &c.HTTP2 }), fields: http2Fields(),
			doc: "HTTP/2 connections: those of clients on listeners with `h2c`, and those to upstreams of protocol `h2c`."},
		{key: "forwarding", kind: kindSection, at: at(func(c *Config) *Forwarding { return &c.Forwarding }), fields: forwardingFields(),
			doc: "What origins are told about the client. X-Forwarded-For, -Proto, -Host and Forwarded of clients that are not trusted are dropped, in any spelling and whether the proxy sends its own or not."},
		{key: "access_log", kind: kindSection, at: at(func(c *Config) *AccessLog { return &c.AccessLog }), fields: accessLogFields(),
			doc: "One line per request. Without this section there is no access log."},
		{key: "log", kind: kindSection, at: at(func(c *Config) *Log { return &c.Log }),
			doc: "The process log, on standard error: starts and ends, endpoints that fail and come back, what runs out. Each line has time, level, message and subject.",
			fields: []field{
				{key: "format", kind: kindEnum, def: "text", enum: []string{"text", "json"}, at: at(func(l *Log) *string { return &l.Format }),
					doc: "`text`: `key=value` pairs (logfmt), values in quotes where they need them; `json`: one object per line."},
				{key: "level", kind: kindEnum, def: "info", enum: []string{"info", "warn", "error"}, at: at(func(l *Log) *string { return &l.Level }),
					doc: "The least important lines that are written."}}},
		{key: "error_pages", kind: kindPages, min: 400, max: 599, at: at(func(c *Config) *map[int]ErrorPage { return &c.ErrorPages }),
			want: "a mapping from statuses 400 to 599 to file names",
			doc: "Bodies for the answers the proxy gives itself, by status: `{404: pages/404.html}`. A file is read once at start, relative to the configuration file, and has at most 64KiB; " +
				"its type follows from its name (`.html`, `.htm`, `.txt`, `.json`; else HTML). Statuses not listed get one line of text. Answers of origins are never replaced."},
		{key: "shutdown", kind: kindSection, at: at(func(c *Config) *Shutdown { return &c.Shutdown }),
			doc: "What SIGTERM and SIGINT do: after `delay` listeners and the admin address close, requests are finished, and idle connections close. A second signal ends at once.",
			fields: []field{
				{key: "delay", kind: kindDuration, def: "0s", max: int64(24 * time.Hour), at: at(func(s *Shutdown) *time.Duration { return &s.Delay }),
					zero: "listeners close at once",
					doc:  "How long everything goes on as before while `/readyz` already answers 503, so that a load balancer sends no new clients. It is longer than the load balancer takes to notice."},
				{key: "idle_timeout", kind: kindDuration, def: "1s", max: int64(24 * time.Hour), at: at(func(s *Shutdown) *time.Duration { return &s.IdleTimeout }),
					zero: "they close at once, and requests on their way are lost",
					doc:  "How long HTTP/1 connections without a request stay open once listeners have closed. A request that comes meanwhile is answered, with `Connection: close`. `grace` limits it."},
				{key: "grace", kind: kindDuration, def: "30s", max: int64(24 * time.Hour), at: at(func(s *Shutdown) *time.Duration { return &s.Grace }),
					zero: "requests in flight are cut off",
					doc:  "How long requests in flight may take to finish before their connections are closed."},
				{key: "upgrade_timeout", kind: kindDuration, def: "1m", min: int64(100 * time.Millisecond), max: int64(time.Hour), at: at(func(s *Shutdown) *time.Duration { return &s.UpgradeTimeout }),
					doc: "How long a new process may take to serve after `zproxy upgrade`, before it is killed and this one goes on."}}},
		{key: "reload", kind: kindSection, at: at(func(c *Config) *Reload { return &c.Reload }),
			doc: "What becomes of requests, streams and WebSockets whose route, listener, upstream or endpoint another configuration does not have any more: see [reload.md](reload.md#what-is-removed).",
			fields: []field{
				{key: "grace", kind: kindDuration, min: int64(time.Millisecond), max: int64(10000 * time.Hour), never: true, at: at(func(r *Reload) *time.Duration { return &r.Grace }),
					zero: "`shutdown.grace`",
					doc:  "How long they go on. Then WebSockets are sent a Close frame with code 1001, and the others are broken off. `never` lets them go on until they end (nginx: `worker_shutdown_timeout`; HAProxy: `hard-stop-after`)."}}},
		{key: "dns", kind: kindSection, at: at(func(c *Config) *DNS { return &c.DNS }),
			doc: "How endpoints given by name are looked up. This happens in the background with the system's resolver; a name that stops resolving keeps its last addresses.",
			fields: []field{
				{key: "interval", kind: kindDuration, def: "30s", min: int64(time.Second), max: int64(24 * time.Hour), at: at(func(s *DNS) *time.Duration { return &s.Interval }),
					doc: "Time between two look-ups of a name."}}},
		{key: "admin", kind: kindSection, at: at(func(c *Config) *Admin { return &c.Admin }),
			doc:    "`/metrics` (Prometheus), `/healthz`, `/readyz`, `/status` (JSON), a page to look at, and an API to control the proxy: see [control.md](control.md). Without this section there is no admin listener.",
			fields: adminFields()},
		{key: "user", kind: kindText, check: checkOwner, want: wantOwner, pattern: patternOwner, at: at(func(c *Config) *string { return &c.User }),
			zero: "it stays who it is", doc: "Whom the process becomes, a name or number, once its listeners are open; it has to be started as root. All threads keep CAP_NET_BIND_SERVICE, for ports below 1024 of another configuration, and nothing else, " +
				"and can gain no privileges. Certificates are read before, and again by that user when they change; the access log, the socket of `admin` and `acme.storage` are opened by it. `zproxy check` names what it may not read."},
		{key: "landlock", kind: kindSection, optional: true, at: at(func(c *Config) *Landlock { c.Landlock = new(Landlock); return c.Landlock }),
			doc: "With this section the process shuts itself out of all files (Landlock) but those in the directories that the configuration names at the start, the system's own (`/etc`, `/proc`, `/sys`, libraries) and these: see [deploy.md](deploy.md#landlock).",
			fields: []field{
				{key: "read", kind: kindTexts, min: 1, max: 256, elem: &field{kind: kindText, check: checkFolder, want: wantFolder}, at: at(func(l *Landlock) *[]string { return &l.Read }),
					doc: "Further directories that may be read, with all below them: where certificates and error pages of later configurations are, and other binaries for an upgrade."},
				{key: "write", kind: kindTexts, min: 1, max: 256, elem: &field{kind: kindText, check: checkFolder, want: wantFolder}, at: at(func(l *Landlock) *[]string { return &l.Write }),
					doc: "Likewise for files that are written: where logs and `unix:` sockets of later configurations are."},
				{key: "without", kind: kindEnum, def: "refuse", enum: []string{"refuse", "warn"}, at: at(func(l *Landlock) *string { return &l.Without }),
					doc: "Where the kernel has no Landlock: `refuse` does not start, `warn` starts without."}}},
		{key: "group", kind: kindText, check: checkOwner, want: wantOwner, pattern: patternOwner, at: at(func(c *Config) *string { return &c.Group }),
			zero: "that of `user`", doc: "The main group of the process, where `user` is set. It keeps all groups that the user is in."},
	}
}

func bufferFields() []field {
	return []field{
		{key: "block", kind: kindSize, def: "16KiB", min: 4 * kib, max: 64 * kib, check: checkPowerOfTwo, at: at(func(b *Buffers) *Size { return &b.Block }),
			doc: "Size of one block, a power of two. Larger blocks mean fewer system calls for large bodies, smaller ones less memory for many slow clients."},
		{key: "max_per_loop", kind: kindSize, def: "64MiB", min: mib, max: 64 * gib, at: at(func(b *Buffers) *Size { return &b.MaxPerLoop }),
			doc: "The most memory one loop's blocks may take, a multiple of `block` and at least 64 of them. When it is used up, reading waits until blocks come back."},
		{key: "huge_pages", kind: kindEnum, def: "auto", enum: []string{"auto", "always", "never"}, at: at(func(b *Buffers) *string { return &b.HugePages }),
			doc: "2 MiB pages for the blocks. `auto` takes them when there are any reserved, else asks for transparent ones; `always` refuses to start without; `never` uses 4 KiB pages."},
	}
}

var interimValues = []string{"pass", "drop"}

func listenerFields() []field {
	return []field{
		{key: "address", kind: kindText, required: true, want: wantListen, pattern: patternAddress, check: checkListen, at: at(func(l *Listener) *string { return &l.Address }),
			doc: "`ip:port`, `\"[ip6]:port\"` (in quotes, because of the bracket) or `unix:/path`. All IPv4 addresses are `0.0.0.0:8080`, all addresses `\"[::]:8080\"`; `localhost` is 127.0.0.1."},
		{key: "protocols", kind: kindTexts, min: 1, max: 2, at: at(func(l *Listener) *[]string { return &l.Protocols }),
			elem: &field{kind: kindEnum, enum: []string{"http1", "h2c", "h2"}, check: checkProtocol},
			zero: "`http1`; with `tls` both `http1` and `h2`",
			doc: "What is spoken there: `http1` (HTTP/1.0 and 1.1), `h2c` (HTTP/2 without TLS, from the first byte: \"prior knowledge\"), or both on one port, told apart by the HTTP/2 preface. The upgrade of an HTTP/1.1 connection (`Upgrade: h2c`) is not offered. " +
				"With `tls` it is `http1`, `h2` or both, as the client chooses by ALPN."},
		{key: "tls", kind: kindSection, optional: true, fields: tlsFields(), atLeast1: []string{"certificates", "acme"},
			at:  at(func(l *Listener) *TLS { l.TLS = new(TLS); return l.TLS }),
			doc: "TLS with the clients of this listener: see [tls.md](tls.md)."},
		{key: "proxy_protocol", kind: kindSection, optional: true,
			at:  at(func(l *Listener) *ProxyProtocol { l.ProxyProtocol = new(ProxyProtocol); return l.ProxyProtocol }),
			doc: "Connections begin with a header of the PROXY protocol, version 1 or 2, in which a load balancer in front says whose they are: see [deploy.md](deploy.md#behind-a-load-balancer-of-tcp).",
			fields: []field{
				{key: "from", kind: kindPrefixes, max: 1024, at: at(func(p *ProxyProtocol) *[]netip.Prefix { return &p.From }),
					elem: &field{kind: kindPrefix, want: wantPrefix},
					zero: "nobody; of a `unix:` address everybody who may open it",
					doc:  "Networks (`10.0.0.0/8`) and addresses whose connections begin with a header, without which they are refused."},
				{key: "others", kind: kindEnum, def: "refuse", enum: []string{"refuse", "plain"}, at: at(func(p *ProxyProtocol) *string { return &p.Others }),
					doc: "What becomes of connections from elsewhere: `refuse` resets them, `plain` serves them as clients that speak for themselves, with a header being an error."},
				{key: "timeout", kind: kindDuration, def: "5s", min: int64(10 * time.Millisecond), max: int64(time.Hour), at: at(func(p *ProxyProtocol) *time.Duration { return &p.Timeout }),
					doc: "For the whole header to come."}}},
		{key: "interim", kind: kindEnum, def: "pass", enum: interimValues, at: at(func(l *Listener) *string { return &l.Interim }),
			doc: "What becomes of interim (1xx) responses of origins, such as 103 Early Hints. `pass` hands them on; `drop` does not, for clients that take them for the answer, such as nginx before 1.29 as a proxy in front. " +
				"100 Continue is not meant: it reaches a client that has asked for it, and no other. A route may say otherwise."},
		{key: "socket", kind: kindSection, at: at(func(l *Listener) *Socket { return &l.Socket }), fields: socketFields(true),
			doc: "Options of the listening socket and of the connections accepted on it."},
	}
}

// socketFields are the options of a listener or of the connections to an upstream.
func socketFields(listener bool) []field {
	fields := []field{
		{key: "no_delay", kind: kindBool, def: "true", at: at(func(s *Socket) *bool { return &s.NoDelay }),
			doc: "TCP_NODELAY: send at once rather than wait to fill a packet."},
		{key: "keep_alive", kind: kindDuration, def: "60s", max: int64(time.Hour), check: checkSeconds, at: at(func(s *Socket) *time.Duration { return &s.KeepAlive }),
			zero: "off", doc: "TCP keep-alive: time without traffic before the kernel probes whether the peer is still there. Whole seconds."},
		{key: "receive_buffer", kind: kindSize, max: 256 * mib, at: at(func(s *Socket) *Size { return &s.RcvBuf }),
			def: "0", zero: "the kernel sizes it", doc: "SO_RCVBUF. Setting it turns the kernel's own sizing off."},
		{key: "send_buffer", kind: kindSize, max: 256 * mib, at: at(func(s *Socket) *Size { return &s.SndBuf }),
			def: "0", zero: "the kernel sizes it", doc: "SO_SNDBUF. Setting it turns the kernel's own sizing off."},
		{key: "congestion", kind: kindText, check: checkCongestion, want: "the name of a congestion control, e.g. bbr or cubic", pattern: "^[a-z0-9_-]{1,15}$",
			at:   at(func(s *Socket) *string { return &s.Congestion }),
			zero: "the system's", doc: "TCP congestion control by name; the kernel must have it (`sysctl net.ipv4.tcp_available_congestion_control`). " +
				"Without it connections on a loopback address have reno where the system's is bbr, whose pacing only costs CPU there."},
	}
	if !listener {
		return fields
	}
	fields = append(fields, accessFields("", at(func(s *Socket) *SocketFile { return &s.File }))...)
	return append(fields,
		field{key: "backlog", kind: kindCount, def: "4096", min: 1, max: 65535, at: at(func(s *Socket) *int { return &s.Backlog }),
			doc: "Connections the kernel may hold for each loop until it accepts them. The kernel cuts it to `net.core.somaxconn`."},
		field{key: "defer_accept", kind: kindDuration, max: int64(time.Minute), check: checkSeconds, at: at(func(s *Socket) *time.Duration { return &s.DeferAccept }),
			def: "0", zero: "off", doc: "TCP_DEFER_ACCEPT: a connection is handed over only when its first bytes are there, or after this time. Whole seconds."},
		field{key: "fast_open", kind: kindCount, max: 65535, at: at(func(s *Socket) *int { return &s.FastOpen }),
			def: "0", zero: "off", doc: "TCP_FASTOPEN: how many connections may be waiting that sent data with their SYN. Needs `net.ipv4.tcp_fastopen` to allow servers."},
		field{key: "name", kind: kindText, check: checkOwner, want: wantOwner, pattern: patternOwner, at: at(func(s *Socket) *string { return &s.Name }),
			zero: "the one bound to the listener's address", doc: "Which socket that systemd has opened is this listener's: its `FileDescriptorName=`."},
	)
}

// accessFields say who may open the file of a unix socket: of is where they are kept.
func accessFields(def string, of func(any) any) []field {
	file := func(parent any) *SocketFile { return of(parent).(*SocketFile) }
	return []field{
		{key: "mode", kind: kindMode, def: def, at: func(parent any) any { return &file(parent).Mode },
			zero: "as the umask has it",
			doc:  "Of a `unix:` address: the permissions of the socket file, in octal. Who may write to it may connect: with `\"0660\"` owner and group, and with the umask most systems have its owner alone. The folder counts as well."},
		{key: "user", kind: kindText, check: checkOwner, want: wantOwner, pattern: patternOwner, at: func(parent any) any { return &file(parent).User },
			zero: "zproxy's own", doc: "Of a `unix:` address: who owns the socket file, a name or number. Only root can give it away."},
		{key: "group", kind: kindText, check: checkOwner, want: wantOwner, pattern: patternOwner, at: func(parent any) any { return &file(parent).Group },
			zero: "zproxy's own", doc: "Of a `unix:` address: the group of the socket file, a name or number; unless zproxy is root, one that its user is in. " +
				"With `mode: \"0660\"` the way to let a web server in front connect and nobody else."},
	}
}

func upstreamFields() []field {
	return []field{
		{key: "balance", kind: kindEnum, def: "round_robin", enum: []string{"round_robin", "least_conn", "least_time", "p2c", "random", "ring_hash", "maglev"}, at: at(func(u *Upstream) *string { return &u.Balance }),
			doc: "How an endpoint is chosen, weights honoured by all: in smooth turns; the one with the fewest requests in flight for its weight; the one with the least response time, times requests in flight, for its weight; the better of two taken at random (power of two choices); at random; or by a key (`hash_on`), the same endpoint for the same key, by a ring (`ring_hash`) or a table (`maglev`)."},
		{key: "hash_on", kind: kindText, check: checkHashOn, want: wantHashOn, pattern: patternHashOn, at: at(func(u *Upstream) *string { return &u.HashOn }),
			doc: "What of a request is its key, for `balance: maglev` and `ring_hash`: `header NAME`, `cookie NAME`, `path`, `query NAME`, or `source`, the client's address (the first 64 bits of IPv6). A request without it goes to an endpoint at random."},
		{key: "hash_balance_factor", kind: kindCount, min: 120, max: 200, at: at(func(u *Upstream) *int { return &u.HashBalanceFactor }),
			zero: "no bound", doc: "With `hash_on`: how much an endpoint may have of the requests under way, in percent of its share by weight, over all loops together. Requests beyond go where those go whose endpoint is down."},
		{key: "slow_start", kind: kindDuration, def: "0", max: int64(24 * time.Hour), at: at(func(u *Upstream) *time.Duration { return &u.SlowStart }),
			zero: "its whole share at once", doc: "How long it takes for an endpoint that comes up, or is a new one among others, to get its whole share of the requests: it begins with a tenth of its weight, which grows evenly. Not with `balance: maglev` or `ring_hash`. See [upstreams.md](upstreams.md#slow-start)."},
		{key: "sticky", kind: kindSection, optional: true, fields: stickySessionFields(),
			at:  at(func(u *Upstream) *StickySession { u.Sticky = new(StickySession); return u.Sticky }),
			doc: "Sticky sessions: clients come back to the endpoint that served them, by a signed cookie. See [upstreams.md](upstreams.md#sticky-sessions)."},
		{key: "protocol", kind: kindEnum, def: "http1", enum: []string{"http1", "h2c", "h2", "auto"}, check: checkUpstreamProtocol, at: at(func(u *Upstream) *string { return &u.Protocol }),
			doc: "What is spoken to the endpoints: `http1` (HTTP/1.1, with `tls` within it), `h2c` (HTTP/2 without TLS, which they must expect) `h2` (HTTP/2 within TLS) or `auto` (`h2` where all endpoints agree to it by ALPN, else `http1`; see [tls.md](tls.md#protocol-auto)). gRPC needs `h2c` or `h2`. [upstreams.md](upstreams.md#http2) says how the pool works then."},
		{key: "tls", kind: kindSection, optional: true, fields: upstreamTLSFields(),
			at:  at(func(u *Upstream) *UpstreamTLS { u.TLS = new(UpstreamTLS); return u.TLS }),
			doc: "TLS with the endpoints; `tls: {}` is enough where their certificates are for their names and from an authority that the system trusts."},
		{key: "send_proxy", kind: kindEnum, enum: []string{"v1", "v2"}, at: at(func(u *Upstream) *string { return &u.SendProxy }),
			zero: "no header", doc: "Begin each connection, before `tls`, with a header of the PROXY protocol that names the client. It is dialled for one request and carries no other, so that none goes under the name of another client; only with `protocol: http1`. See [upstreams.md](upstreams.md#the-clients-address-send_proxy)."},
		{key: "send_proxy_tlvs", kind: kindTexts, min: 1, max: 4, at: at(func(u *Upstream) *[]string { return &u.SendProxyTLVs }),
			elem: &field{kind: kindEnum, enum: []string{"alpn", "authority", "ssl", "unique_id"}},
			zero: "addresses and a checksum alone", doc: "What `send_proxy: v2` says besides. `alpn`, `authority` and `ssl`, where the client is within TLS: what ALPN chose, the name it asked for (SNI), version, cipher and the common name of a verified certificate; `unique_id`: the request's identifier, as in X-Request-ID. " +
				"Headers of more than 107 bytes, which `ssl` and `unique_id` together make, are refused by nginx before 1.23 at `listen ... ssl proxy_protocol`."},
		{key: "endpoints", kind: kindSections, min: 1, max: MaxEndpoints,
			at:   at(func(u *Upstream) *[]Endpoint { return &u.Endpoints }),
			grow: grow(func(e *Endpoint, _ string, pos Pos) { e.Pos = pos }),
			zero: "`discover` says where they are found",
			doc:  "The origin servers. One that cannot be connected to is left alone for a while, longer each time.",
			fields: []field{
				{key: "address", kind: kindText, required: true, want: wantDial, pattern: patternAddress, check: checkDial, at: at(func(e *Endpoint) *string { return &e.Address }),
					doc: "`ip:port`, `\"[ip6]:port\"`, `name:port` or `unix:/path`. A name is looked up again and again, see `dns`."},
				{key: "weight", kind: kindCount, def: "1", min: 1, max: 256, at: at(func(e *Endpoint) *int { return &e.Weight }),
					doc: "Share of the requests, relative to the other endpoints of its tier."},
				{key: "priority", kind: kindCount, def: "0", max: maxPriority, at: at(func(e *Endpoint) *int { return &e.Priority }),
					doc: "Endpoints with the same number are a tier. The one with the least serves; what it lacks when more than two in seven of it are down spills over to the next. See [upstreams.md](upstreams.md#tiers)."},
				{key: "backup", kind: kindBool, def: "false", at: at(func(e *Endpoint) *bool { return &e.Backup }),
					doc: "Gets requests only when none of the other endpoints is up, or all are full."},
				{key: "zone", kind: kindText, check: checkZone, want: wantZone, pattern: patternZoneName, at: at(func(e *Endpoint) *string { return &e.Zone }),
					zero: "none", doc: "The zone that it is in, see `zone` of the process."},
				{key: "labels", kind: kindLabels, want: wantLabels, at: at(func(e *Endpoint) *Labels { return &e.Labels }),
					doc: "What is said of it, for routes that choose by that: `{version: v2, stage: canary}`. See [upstreams.md](upstreams.md#subsets)."}}},
		{key: "discover", kind: kindSection, optional: true, fields: discoverFields(), atLeast1: discoverKinds,
			at:  at(func(u *Upstream) *Discover { u.Discover = new(Discover); return u.Discover }),
			doc: "Where the origin servers are found, instead of `endpoints`. They may come and go while the proxy runs: see [discovery.md](discovery.md)."},
		{key: "pool", kind: kindSection, at: at(func(u *Upstream) *Pool { return &u.Pool }), fields: poolFields(),
			doc: "Kept-alive connections to the endpoints."},
		{key: "timeouts", kind: kindSection, at: at(func(u *Upstream) *Timeouts { return &u.Timeouts }),
			doc: "How long an endpoint may take. A request that runs into one is answered 504 if nothing of the answer was sent yet, else its connection is broken off.",
			fields: []field{
				{key: "connect", kind: kindDuration, def: "2s", min: int64(time.Millisecond), max: int64(10 * time.Minute), at: at(func(t *Timeouts) *time.Duration { return &t.Connect }),
					doc: "For a connection to be established. The next endpoint is tried after it."},
				{key: "response", kind: kindDuration, def: "60s", min: int64(time.Millisecond), max: int64(24 * time.Hour), at: at(func(t *Timeouts) *time.Duration { return &t.Response }),
					doc: "From the request's last byte to the end of the response's head."},
				{key: "continue", kind: kindDuration, def: "1s", max: int64(10 * time.Minute), at: at(func(t *Timeouts) *time.Duration { return &t.Continue }),
					zero: "the client waits for the origin, whatever it takes",
					doc:  "For an origin to answer a request with `Expect: 100-continue`, whose body the client holds back. After it the client is told to go on (100 Continue) in the origin's place: many origins never say so."},
				{key: "idle", kind: kindDuration, def: "60s", min: int64(time.Millisecond), max: int64(24 * time.Hour), at: at(func(t *Timeouts) *time.Duration { return &t.Idle }),
					doc: "Between two reads or two writes of a body, and without traffic either way in a tunnel (WebSocket) or on a stream whose answer has begun before its request has ended."}}},
		{key: "retries", kind: kindCount, def: "1", max: 5, at: at(func(u *Upstream) *int { return &u.Retries }),
			zero: "never", doc: "How often a request is tried again elsewhere when a connection could not be made, or broke before any answer and the request is safe to repeat."},
		{key: "retry", kind: kindSection, optional: true, fields: retryFields(),
			at:  at(func(u *Upstream) *Retry { u.Retry = new(Retry); return u.Retry }),
			doc: "The same in detail, instead of `retries`: statuses, a time for each try, a budget; bodies of up to 64 KiB are kept for another try. `retry: {}` tries once more what is safe. See [upstreams.md](upstreams.md#retries)."},
		{key: "host", kind: kindText, check: checkAuthority, want: "a host, with or without a port, e.g. app.internal", at: at(func(u *Upstream) *string { return &u.Host }),
			zero: "the client's", doc: "The Host field sent to the endpoints."},
		{key: "health_check", kind: kindSection, optional: true, fields: healthCheckFields(),
			at:  at(func(u *Upstream) *HealthCheck { u.HealthCheck = new(HealthCheck); return u.HealthCheck }),
			doc: "Active health checks, made from one place for all loops; `health_check: {}` asks each endpoint for `/` every 2 s. Without this section what becomes of requests alone says which endpoints are down. See [upstreams.md](upstreams.md#active-health-checks)."},
		{key: "outlier_detection", kind: kindSection, optional: true, fields: outlierFields(),
			at:  at(func(u *Upstream) *OutlierDetection { u.Outlier = new(OutlierDetection); return u.Outlier }),
			doc: "Ejects endpoints that answer with errors; `outlier_detection: {}` has the values that Envoy's users know. See [upstreams.md](upstreams.md#outlier-detection)."},
		{key: "adaptive_concurrency", kind: kindSection, optional: true, fields: concurrencyFields(),
			at:  at(func(u *Upstream) *AdaptiveConcurrency { u.Adaptive = new(AdaptiveConcurrency); return u.Adaptive }),
			doc: "Finds out how many requests the upstream takes at a time before it gets slower, over all loops and endpoints together, and sheds the rest at once, those of the least `priority` first, with 503 and Retry-After. See [upstreams.md](upstreams.md#adaptive-concurrency)."},
		{key: "socket", kind: kindSection, at: at(func(u *Upstream) *Socket { return &u.Socket }), fields: socketFields(false),
			doc: "Options of the connections to the endpoints."},
	}
}

func poolFields() []field {
	return []field{
		{key: "max_connections", kind: kindCount, def: "1024", min: 1, max: 1 << 20, at: at(func(p *Pool) *int { return &p.MaxConnections }),
			doc: "The most connections to one endpoint, over all loops together. Requests beyond wait in the queue."},
		{key: "max_requests", kind: kindCount, def: "0", max: 1 << 24, at: at(func(p *Pool) *int { return &p.MaxRequests }),
			zero: "no limit", doc: "The most requests of the upstream that may be under way, whether with an endpoint or waiting, over all loops together. More are answered 503 at once. `max_connections` limits those with one endpoint, `queue` those that wait."},
		{key: "max_idle", kind: kindCount, def: "256", max: 1 << 20, at: at(func(p *Pool) *int { return &p.MaxIdle }),
			zero: "no connection is kept", doc: "The most idle connections kept to one endpoint, over all loops together. At most `max_connections`; when that is set lower than this default, so is this."},
		{key: "prewarm", kind: kindCount, def: "0", max: 4096, at: at(func(p *Pool) *int { return &p.Prewarm }),
			doc: "Connections to one endpoint, over all loops together, opened at start and reopened when they are lost. At most `max_idle`."},
		{key: "idle_timeout", kind: kindDuration, def: "60s", min: int64(time.Millisecond), max: int64(24 * time.Hour), at: at(func(p *Pool) *time.Duration { return &p.IdleTimeout }),
			doc: "An idle connection is closed after this time. Best a little below what the origin itself allows."},
		{key: "queue", kind: kindCount, def: "1024", max: 1 << 20, at: at(func(p *Pool) *int { return &p.Queue }),
			zero: "no waiting", doc: "How many requests may wait for a connection, over all loops together. More are answered 503."},
		{key: "queue_timeout", kind: kindDuration, def: "5s", min: int64(time.Millisecond), max: int64(10 * time.Minute), at: at(func(p *Pool) *time.Duration { return &p.QueueTimeout }),
			doc: "How long a request may wait for a connection; then it is answered 503."},
	}
}

var routeActions = [...]string{"upstream", "split", "respond", "redirect"}

func routeFields() []field {
	return []field{
		{key: "host", kind: kindText, check: checkHost, want: wantHost, at: at(func(r *Route) *string { return &r.Host }),
			zero: "any host", doc: "`api.example.com`, or `\"*.example.com\"` (in quotes) for every name below example.com. Case and the request's port do not matter. An exact host wins over a wildcard, the longer wildcard over the shorter, any of them over none."},
		{key: "path", kind: kindText, required: true, check: checkPath, want: wantPath, pattern: "^/", at: at(func(r *Route) *string { return &r.Path }),
			doc: "`/exact`, `/users/:id` (`:id` is one segment, not empty) or `/files/*rest` (`*rest`, or just `*`, is all that remains). In each segment exact text wins over `:name`, `:name` over `*`."},
		{key: "methods", kind: kindTexts, min: 1, max: 32, at: at(func(r *Route) *[]string { return &r.Methods }), elem: &field{kind: kindText, check: checkMethod, want: wantMethod, pattern: "^[A-Z][A-Z0-9_-]*$"},
			zero: "all", doc: "`[GET, POST]`. GET includes HEAD unless a route of its own takes that."},
		{key: "listener", kind: kindText, check: checkListen, want: wantListen, at: at(func(r *Route) *string { return &r.Listener }),
			zero: "all listeners", doc: "Restricts the route to the listener with this address, written as it is under `listeners`."},
		{key: "tls", kind: kindSection, optional: true, fields: routeTLSFields(),
			at:  at(func(r *Route) *RouteTLS { r.TLS = new(RouteTLS); return r.TLS }),
			doc: "Restricts the route to requests within TLS that fit: for others it is as if the route were not there, and the next that matches answers. [routing.md](routing.md#tls) says in which order."},
		{key: "interim", kind: kindEnum, enum: interimValues, at: at(func(r *Route) *string { return &r.Interim }),
			zero: "as the listener says", doc: "What becomes of interim (1xx) responses on this route: see `listeners`."},
		{key: "max_stream_duration", kind: kindDuration, def: "0", max: int64(10000 * time.Hour), at: at(func(r *Route) *time.Duration { return &r.MaxStreamDuration }),
			zero: "no limit", doc: "The longest that one request may take, from the end of its head to the end of the answer, streams, uploads, WebSockets and other tunnels included. Then it is answered 504, or broken off if the answer has begun. " +
				"Once an answer has begun a stream may be as slow as it likes in what the client sends, as long as something passes within `timeouts.idle`: this keeps a trickle from holding a connection for ever."},
		{key: "upstream", kind: kindText, at: at(func(r *Route) *string { return &r.Upstream }),
			doc: "Forward to this upstream. A route has exactly one of `upstream`, `split`, `respond` and `redirect`."},
		{key: "subset", kind: kindLabels, want: wantLabels, at: at(func(r *Route) *Labels { return &r.Subset }),
			zero: "all endpoints", doc: "With `upstream`: " + docSubset},
		{key: "subset_fallback", kind: kindEnum, zero: "`none`", enum: []string{"any", "none"}, at: at(func(r *Route) *string { return &r.SubsetFallback }),
			doc: docSubsetFallback},
		{key: "split", kind: kindSections, min: 1, max: 64, fields: splitFields(),
			at:   at(func(r *Route) *[]Share { return &r.Split }),
			grow: grow(func(s *Share, _ string, pos Pos) { s.Pos = pos }),
			doc:  "Forward to several upstreams, each with its share of the requests. See [routing.md](routing.md#several-upstreams)."},
		{key: "sticky", kind: kindSection, optional: true, fields: stickyFields(),
			at:  at(func(r *Route) *Sticky { r.Sticky = new(Sticky); return r.Sticky }),
			doc: "With `split`: requests in which the value of this cookie or field is the same go to the same upstream, on every loop and every instance with these weights. Those without it are split each for itself."},
		{key: "fallback", kind: kindText, at: at(func(r *Route) *string { return &r.Fallback }),
			doc: "The upstream that requests go to while no endpoint is up of the one that they would go to."},
		{key: "priority", kind: kindText, def: "normal", figures: [2]int64{0, leastUrgency}, check: checkPriority, want: wantPriority, pattern: patternPriority, at: at(func(r *Route) *string { return &r.Priority }),
			doc: "How important the requests of this route are where an upstream with `adaptive_concurrency` sheds some: `high` (1), `normal` (3), `low` (5), or a number from 0, the most important, to 7, as the urgency of RFC 9218."},
		{key: "respond", kind: kindSection, optional: true, doc: "Answer at once.",
			at: at(func(r *Route) *Respond { r.Respond = new(Respond); return r.Respond }),
			fields: []field{
				{key: "status", kind: kindCount, def: "200", min: 200, max: 599, at: at(func(r *Respond) *int { return &r.Status }),
					doc: "Status of the answer."},
				{key: "body", kind: kindText, check: checkBody, at: at(func(r *Respond) *string { return &r.Body }),
					zero: "empty", doc: "Content, at most 64KiB. `\"\\n\"` in double quotes is a line break."},
				{key: "content_type", kind: kindText, def: "text/plain; charset=utf-8", check: checkFieldValue, want: "a media type, e.g. text/html; charset=utf-8", at: at(func(r *Respond) *string { return &r.ContentType }),
					doc: "Content-Type of the body. Not sent when there is no body."}}},
		{key: "redirect", kind: kindSection, optional: true, doc: "Answer with a Location field.",
			at: at(func(r *Route) *Redirect { r.Redirect = new(Redirect); return r.Redirect }),
			fields: []field{
				{key: "to", kind: kindText, required: true, check: checkLocation, want: wantLocation, at: at(func(r *Redirect) *string { return &r.To }),
					doc: "`https://host/path` or `/path`, in which `{scheme}`, `{host}` (without port), `{path}`, `{query}`, `{client_ip}`, `{request_id}` and, for a route's `:id`, `{path.id}` stand for what the request has: " +
						"`https://{host}{path}?{query}` sends everybody to HTTPS. Where `{query}` is empty, a `?` or `&` before it is left out. What no URL may contain is percent-encoded."},
				{key: "status", kind: kindCount, def: "302", numbers: []int64{301, 302, 303, 307, 308}, at: at(func(r *Redirect) *int { return &r.Status }),
					doc: "Permanent are 301 and 308, temporary 302, 303 and 307; 307 and 308 keep the method."}}},
		{key: "websocket", kind: kindSection, optional: true, fields: webSocketFields(),
			at:  at(func(r *Route) *WebSocket { r.WebSocket = new(WebSocket); return r.WebSocket }),
			doc: "What becomes of connections that are upgraded to WebSocket. Handshakes are checked on both sides, whatever the mode. Only with `upstream`."},
		filtersField(at(func(r *Route) *[]Filter { return &r.Filters }), "filters", "Filters that requests of this route pass, behind those of all requests and of its host."),
	}
}

func webSocketFields() []field {
	const day = int64(24 * time.Hour)
	return []field{
		{key: "mode", kind: kindEnum, def: "frames", enum: []string{"frames", "tunnel"}, at: at(func(s *WebSocket) *string { return &s.Mode }),
			doc: "`frames` checks every frame while it passes (RFC 6455), counts it, and ends a connection that breaks the rules with a Close frame to both sides; `tunnel` passes bytes without looking at them."},
		{key: "idle_timeout", kind: kindDuration, def: "0", max: day, at: at(func(s *WebSocket) *time.Duration { return &s.IdleTimeout }),
			zero: "`timeouts.idle` of the upstream", doc: "A connection without traffic either way is closed after this time. Pings of the proxy's own and the answers to them do not count."},
		{key: "max_message", kind: kindSize, def: "0", max: 1 << 50, at: at(func(s *WebSocket) *Size { return &s.MaxMessage }),
			zero: "no limit", doc: "Size of a message, all fragments together and as sent, so before decompression. A larger one ends the connection with close code 1009. Frames are passed on as they come and never held in memory, so there is no need for a limit on the proxy's own account."},
		{key: "max_frame", kind: kindSize, def: "0", max: 1 << 50, at: at(func(s *WebSocket) *Size { return &s.MaxFrame }),
			zero: "no limit", doc: "The same for a single frame."},
		{key: "ping_interval", kind: kindDuration, def: "0", max: day, at: at(func(s *WebSocket) *time.Duration { return &s.PingInterval }),
			zero: "no pings", doc: "How often the proxy pings both sides. The answers go no further. A side that has sent nothing at all by the time of the next ping is gone, and the connection is ended."},
		{key: "max_connections", kind: kindCount, def: "0", max: 1 << 24, at: at(func(s *WebSocket) *int { return &s.MaxConnections }),
			zero: "no limit", doc: "The most WebSockets of this route, over all loops together, handshakes under way included. More are answered 503."},
	}
}

func limitFields() []field {
	const ms, hour = int64(time.Millisecond), int64(time.Hour)
	return []field{
		{key: "header_bytes", kind: kindSize, def: "64KiB", min: kib, max: mib, at: at(func(l *Limits) *Size { return &l.HeaderBytes }),
			doc: "Request line and fields together. A longer request is answered 431 (414 if its target alone is longer than 8KiB); a longer answer of an origin becomes 502."},
		{key: "headers", kind: kindCount, def: "128", min: 8, max: 1024, at: at(func(l *Limits) *int { return &l.Headers }),
			doc: "Number of fields in one message. More are answered 431; 502 for an origin's. The crumbs of a cookie of HTTP/2 (RFC 9113 section 8.2.3) count as one."},
		{key: "body_bytes", kind: kindSize, def: "0", max: 1 << 50, at: at(func(l *Limits) *Size { return &l.BodyBytes }),
			zero: "no limit", doc: "Size of a request's body; a larger one is answered 413. Bodies are passed on as they come and never held in memory, so there is no need for a limit on the proxy's own account."},
		{key: "request_header_timeout", kind: kindDuration, def: "10s", min: ms, max: hour, at: at(func(l *Limits) *time.Duration { return &l.RequestHeaderTimeout }),
			doc: "From a request's first byte (or the connection's start) to the end of its head; then 408 and the connection is closed."},
		{key: "keepalive_timeout", kind: kindDuration, def: "75s", min: ms, max: 24 * hour, at: at(func(l *Limits) *time.Duration { return &l.KeepaliveTimeout }),
			doc: "A client connection without a request is closed after this time."},
		{key: "request_body_timeout", kind: kindDuration, def: "60s", min: ms, max: hour, at: at(func(l *Limits) *time.Duration { return &l.RequestBodyTimeout }),
			doc: "Longest pause while a request's body is read; then 408 and the connection is closed. It holds until the answer begins: from then on the upstream's `timeouts.idle` does, for both directions together."},
		{key: "send_timeout", kind: kindDuration, def: "60s", min: ms, max: hour, at: at(func(l *Limits) *time.Duration { return &l.SendTimeout }),
			doc: "Longest time in which a client takes not one byte of its answer; then the connection is closed."},
		{key: "min_rate", kind: kindSize, def: "128", max: gib, at: at(func(l *Limits) *Size { return &l.MinRate }),
			zero: "however slow", doc: "Bytes per second that a client has to send of a body, and to take of an answer that waits for it, at the least. " +
				"What counts is the mean of `request_body_timeout` or `send_timeout`, or a little longer; who stays below is treated as if it had paused for that long. " +
				"It does not hold in a tunnel, nor while the client waits for the origin, nor for a body once the answer has begun (see `max_stream_duration` of routes)."},
		{key: "half_close", kind: kindEnum, def: "serve", enum: []string{"serve", "end"}, at: at(func(l *Limits) *string { return &l.HalfClose }),
			doc: "What becomes of a request over HTTP/1 whose client closes its write side (FIN) while it waits for the answer. `serve` answers it, for the client may still read; `end` takes it for gone, as nginx does: " +
				"the exchange ends and the origin's connection is closed. In a tunnel the end of one direction is passed on either way."},
		{key: "lingering_timeout", kind: kindDuration, def: "5s", min: ms, max: hour, at: at(func(l *Limits) *time.Duration { return &l.LingeringTimeout }),
			doc: "A client that still sends when its last answer has left, because the request was refused or answered early, is read on, and what comes is thrown away: closed at once, its connection would be reset, and the answer may be lost with it (RFC 9112 9.6). It is closed once nothing has come for this time; within 2 s during a shutdown."},
		{key: "lingering_time", kind: kindDuration, def: "30s", min: ms, max: hour, at: at(func(l *Limits) *time.Duration { return &l.LingeringTime }),
			doc: "The longest that such a client is read in all, from when its answer has left; 64 MiB at the most. All such clients of a loop together are read at up to 100 MiB a second, in turns. Those that have been read the longest are closed sooner where seven eighths of `connections` are in use."},
		{key: "connections", kind: kindCount, def: "0", max: 1 << 24, at: at(func(l *Limits) *int { return &l.Connections }),
			zero: "the loop's share of the limit on open files, less what the pools may need", doc: "Connections of clients to one loop. More are accepted and reset at once, and counted as `zproxy_shed_total`."},
		{key: "requests_per_connection", kind: kindCount, def: "0", max: 1 << 30, at: at(func(l *Limits) *int { return &l.RequestsPerConnection }),
			zero: "no limit", doc: "A client connection is closed after this many requests. 1 turns keep-alive off."},
	}
}

func http2Fields() []field {
	return []field{
		{key: "max_streams", kind: kindCount, def: "512", min: 1, max: 1 << 16, at: at(func(h *HTTP2) *int { return &h.MaxStreams }),
			doc: "Requests that one client connection may have under way (SETTINGS_MAX_CONCURRENT_STREAMS). More are refused (REFUSED_STREAM), and a client may send them again."},
		{key: "stream_window", kind: kindSize, def: "1MiB", min: 16 * kib, max: gib, at: at(func(h *HTTP2) *Size { return &h.StreamWindow }),
			doc: "How many bytes of one body may be under way to the proxy before they have been passed on. It bounds what a slow receiver makes the proxy hold for a stream, and a body's speed over long distances: one window per round trip. A stream begins with less, 1/256 of the buffers, and gets four times as much as this if it is fast; less while buffers are short."},
		{key: "connection_window", kind: kindSize, def: "16MiB", min: 64 * kib, max: gib, at: at(func(h *HTTP2) *Size { return &h.ConnectionWindow }),
			doc: "The same for all streams of a connection together. At least `stream_window`; when that is set higher than this default, so is this. A connection begins with 64 KiB and gets more while it is fast, as far as `buffers.max_per_loop` allows: one alone a quarter of that, several less each."},
		{key: "header_table", kind: kindSize, def: "4KiB", max: 64 * kib, at: at(func(h *HTTP2) *Size { return &h.HeaderTable }),
			zero: "peers repeat every field in full", doc: "HPACK table for the fields a peer sends (SETTINGS_HEADER_TABLE_SIZE), held for every connection that makes use of it."},
		{key: "upstream_streams", kind: kindCount, def: "100", min: 1, max: 1 << 16, at: at(func(h *HTTP2) *int { return &h.UpstreamStreams }),
			doc: "Requests under way on one connection to an endpoint at the most; fewer if the endpoint allows fewer. A further connection is opened when all are full."},
		{key: "upstream_connections", kind: kindCount, def: "4", min: 1, max: 1024, at: at(func(h *HTTP2) *int { return &h.UpstreamConnections }),
			doc: "HTTP/2 connections of one loop to one endpoint at the most. Requests that find all of them full wait, for as long as `queue_timeout`."},
		{key: "idle_timeout", kind: kindDuration, min: int64(time.Millisecond), max: int64(24 * time.Hour), at: at(func(h *HTTP2) *time.Duration { return &h.IdleTimeout }),
			zero: "`limits.keepalive_timeout`", doc: "A client's HTTP/2 connection without a stream is closed after this time. For those to endpoints the pool's `idle_timeout` holds."},
		{key: "abuse_score", kind: kindCount, def: "2000", min: 10, max: 1 << 20, at: at(func(h *HTTP2) *int { return &h.AbuseScore }),
			doc: "What a peer costs without asking for anything, such as streams opened and cancelled at once, empty frames, floods of settings or pings, adds points to its connection's score; points decay with time. Beyond this many the connection is closed with ENHANCE_YOUR_CALM. Raise it if the reason appears in the log for clients that mean well."},
	}
}

// defaultDrop lists fields by which proxies tell origins who the client is and what it asked for. Client-Cert is that
// of RFC 9440, Proxy the one that becomes the variable HTTP_PROXY.
const defaultDrop = "X-Real-IP, True-Client-IP, X-Client-IP, X-Cluster-Client-IP, CF-Connecting-IP, Fastly-Client-IP, X-Forwarded-*, X-Original-Forwarded-For, " +
	"X-SSL-*, Client-Cert, Client-Cert-Chain, X-Envoy-*, Proxy, Front-End-Https, X-Scheme, X-Original-URL, X-Original-Host, X-Rewrite-URL"

func forwardingFields() []field {
	return []field{
		{key: "x_forwarded", kind: kindBool, def: "true", at: at(func(f *Forwarding) *bool { return &f.XForwarded }),
			doc: "Send X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host."},
		{key: "forwarded", kind: kindBool, def: "false", at: at(func(f *Forwarding) *bool { return &f.Forwarded }),
			doc: "Send Forwarded (RFC 7239)."},
		{key: "request_id", kind: kindBool, def: "false", at: at(func(f *Forwarding) *bool { return &f.RequestID }),
			doc: "Send X-Request-ID: what a trusted proxy has sent in it, else 32 hexadecimal digits that no other request has. What other clients send in it is dropped then. The access log has it in any case."},
		{key: "x_real_ip", kind: kindBool, def: "false", at: at(func(f *Forwarding) *bool { return &f.XRealIP }),
			doc: "Send X-Real-IP: the address of the client, which a trusted proxy may have named in X-Forwarded-For or Forwarded. What the client sends in such a field is dropped then."},
		{key: "drop", kind: kindTexts, max: 256, def: defaultDrop, at: at(func(f *Forwarding) *[]string { return &f.Drop }),
			elem: &field{kind: kindText, check: checkFieldName, want: wantFieldName, pattern: `^[A-Za-z0-9!#$%&'+.^_|~-]+[*]?$`},
			doc: "Fields of requests that only trusted proxies may send: origins take what they say for the word of a proxy. They are dropped from the heads and trailers of all other clients. " +
				"A `*` at the end stands for any end of a name; `_` and `-` are the same, as they are to CGI. A list written here replaces the default; `[]` drops none. What is said above of X-Forwarded-For, -Proto, -Host and Forwarded holds all the same, and for Client-Cert and Client-Cert-Chain (RFC 9440)."},
		{key: "via", kind: kindText, check: checkToken, want: "a name of letters, digits, and -._, e.g. edge1", pattern: "^[A-Za-z0-9._-]{1,64}$", at: at(func(f *Forwarding) *string { return &f.Via }),
			zero: "no Via", doc: "Add this name to the Via field, in both directions; all instances of a tier may have the same. Requests also carry a name of this very process, as a comment, and one that comes back with it is answered 508 (loop detected)."},
		{key: "max_hops", kind: kindCount, def: "32", max: 1024, at: at(func(f *Forwarding) *int { return &f.MaxHops }),
			zero: "no limit", doc: "How many proxies a request may have passed, by the entries of its Via or its CDN-Loop (RFC 8586); with as many it is answered 508. This ends loops through other proxies, as long as one of them, or `via` here, notes its name."},
		{key: "trusted_proxies", kind: kindPrefixes, max: 1024, at: at(func(f *Forwarding) *[]netip.Prefix { return &f.TrustedProxies }),
			elem: &field{kind: kindPrefix, want: wantPrefix},
			zero: "nobody", doc: "Networks, or single addresses, of the proxies in front of this one. What they say in the fields above is kept and added to. Who connects through a `unix:` listener is trusted as well."},
	}
}

func accessLogFields() []field {
	return []field{
		{key: "path", kind: kindText, required: true, check: checkLogPath, want: `a file name, or "-" for standard output`, at: at(func(a *AccessLog) *string { return &a.Path }),
			doc: "A file, relative to the working directory unless it begins with `/`, or `-` (also `stdout`) for standard output. SIGUSR1 reopens it."},
		{key: "format", kind: kindText, def: "json", at: at(func(a *AccessLog) *string { return &a.Format }),
			doc: "`json`: one object per line, with times and the reason of an error; `combined`: as Apache and nginx write it; or a text with fields in braces, " +
				"such as `{client_ip} \"{request}\" {status} {duration_s}`: see [access-log.md](access-log.md)."},
		{key: "buffer_bytes", kind: kindSize, def: "64KiB", min: 4 * kib, max: 16 * mib, at: at(func(a *AccessLog) *Size { return &a.BufferBytes }),
			doc: "Lines of one loop are collected up to this size. When the disk cannot follow, lines are dropped and counted; requests never wait."},
		{key: "flush", kind: kindDuration, def: "1s", min: int64(10 * time.Millisecond), max: int64(time.Minute), at: at(func(a *AccessLog) *time.Duration { return &a.Flush }),
			doc: "The longest a line waits to be written."},
	}
}
