package tidy

const (
	maxFileLines = 600
	maxFuncLines = 70 // without the lines of literals: a table is data
)

// layers says where a package stands; one imports only what stands lower. A
// package that is not named stands where its nearest parent does, and may
// import that parent.
var layers = map[string]int{
	"internal/assert": 0,
	"internal/index":  0,
	"internal/slab":   1,
	"variables":       1,

	"numa":    2,
	"proto":   2,
	"config":  2,
	"metrics": 2,

	"filter/rate": 3, // counts: knows no requests

	"convert": 3, // the command's translations of other programs' configurations

	"buf":         3,
	"tune":        3,
	"router":      3,
	"upstream":    3,
	"proto/http1": 3,
	"proto/http2": 3,
	"proto/ws":    3,

	"proto/proxyproto": 3,
	"proto/tls":        3,

	"proto/tls/aesgcm": 2,

	"loop/internal/seam": 3,

	"upstream/discover/api": 3, // knows no endpoints, and is below those that do

	"upstream/discover/consul":     4,
	"upstream/discover/kubernetes": 4,

	"upstream/health": 4, // begins a connection as an exchange's would

	"loop":     4,
	"loop/sim": 5,

	"proxy/transport/credentials": 3,

	"proxy/transport/handshake": 4,
	"proxy/transport":           5,
	"proxy/tunnel":              5,
	"proxy/memory":              5,

	"filter":        6,
	"filter/verify": 7, // verdicts about credentials

	"filter/apikey":      8,
	"filter/basicauth":   8,
	"filter/forwardauth": 8,
	"filter/jwt":         8,

	"proxy/snapshot": 9,
	"proxy/h2conn":   6,
	"proxy/scarce":   6,
	"proxy/forward":  10,
	"proxy/retry":    10,
	"proxy/origins":  10,
	"proxy/journal":  11,

	"proxy": 12,
	// The server owns the life of everything, the admin listener's as well.
	"admin":       13,
	"server/acme": 13,
	"server":      14,

	"cmd":                15,
	"e2e":                15, // runs the binary against real peers
	"internal/beside":    15, // how many tests run side by side
	"internal/child":     15, // programs that tests start
	"internal/longtest":  15, // keeps tests that take long out of a plain run
	"internal/mixedload": 14, // what tests load a proxy with while it changes
	"internal/simnet":    15, // scripted peers: only tests and commands may know them
	"internal/tidy":      15,
	"internal/tlstest":   15, // certificates and connections: only tests may know them
	"internal/vmtest":    15, // runs the binary in a virtual machine
	"bench":              15,
	"examples":           15,
}

// onlyImports narrows layers: these packages import nothing else of the module.
var onlyImports = map[string][]string{
	// The loop cannot spell HTTP.
	"loop": {"numa", "buf", "internal/slab", "internal/assert", "loop/internal/seam"},
	// Nor does a world know the loop that lives in it.
	"loop/sim": {"loop/internal/seam"},
	// A tunnel is told what its sides send: it knows no connection.
	"proxy/tunnel": {"buf", "metrics", "proto", "proto/ws", "internal/slab", "internal/assert"},
	// Who holds memory is found out by numbers, and who holds a connection, too.
	"proxy/memory": {},
	"proxy/scarce": {"proxy/transport"},
	// Settings of the machine: not the proxy's business, nor the proxy theirs.
	"tune": {"numa"},
	// What is measured against is not our own code.
	"bench/origin": {},
	// A translation is text: whether it is valid is for who asked for it to find out.
	"convert": {"variables"},
	// Numbers are shown, not fetched: whoever has them hands them over.
	"admin": {"loop", "metrics"},
	// Certificates are got, and handed over: the proxy is known as what gives answers, and no more.
	"server/acme": {"config", "metrics"},
}

// A confined package, or feature of the language, is for these places only.
// An entry of where stands for the packages below it, too.
var confined = []struct {
	what  string // a feature as features_test.go names it, or "import " and a path
	where []string
	tests bool // also not in tests outside of where
}{
	{"import unsafe", []string{"loop", "numa", "buf", "bench/floor"}, false}, // tests ask for sizes
	{"raw system call", []string{"loop", "numa", "buf", "bench/floor"}, true},
	{"go:linkname", nil, true},
	// As a client of authorities, of endpoints that are checked, of servers that know endpoints and of those that know keys of tokens: docs/decisions/0025, 0033, 0042, 0049.
	{"import net/http", []string{"admin", "bench", "filter/jwt", "internal/mixedload", "server/acme", "upstream/discover/api", "upstream/discover/kubernetes", "upstream/health"}, false},
	{"import github.com/GehirnInc/crypt", []string{"filter/basicauth"}, true},
	{"import github.com/golang-jwt/jwt", []string{"filter/jwt"}, true},
	{"import github.com/miekg/dns", []string{"upstream/discover"}, true},
	{"import github.com/mholt/acmez", []string{"server/acme"}, true},
	{"import zproxy/loop/sim", []string{"internal/simnet"}, false}, // tests run in it, and no program has it
	{"import github.com/pawelgaczynski/giouring", []string{"loop"}, true},
	{"import github.com/cloudwego/netpoll", []string{"bench"}, true},
	{"import github.com/cloudwego/gopkg", []string{"bench"}, true},
	{"import C", nil, true},
}

// banned is what packages do without, those of the data path above all.
var banned = []struct {
	where []string
	what  []string
}{
	{
		[]string{"buf", "proto", "router"},
		[]string{"import sync", "import sync/atomic", "import fmt", "import log", "import reflect", "import encoding",
			"import os", "go statement", "channel", "defer", "time.Now", "timer"},
	},
	{
		[]string{"loop", "proxy", "upstream"},
		[]string{"import sync", "import log", "import reflect", "import encoding", "import fmt",
			"go statement", "channel", "defer", "time.Now", "timer"},
	},
	// Not on the data path: it looks at the machine through an fs.FS, and whatever could write is in one file.
	{
		[]string{"tune"},
		[]string{"import os", "import net", "import golang.org/x/sys", "go statement"},
	},
}

// elsewhere names packages that stand below a banned one in the tree and are
// not on the data path.
var elsewhere = map[string]string{
	"upstream/discover": "asks sources on goroutines of its own",

	"upstream/discover/api": "is called by sources, on those goroutines",

	"upstream/discover/consul": "as above",

	"upstream/discover/kubernetes": "as above",

	"upstream/health": "asks endpoints on goroutines of its own",

	"upstream/resolve": "asks name servers on a goroutine of its own",

	"proxy/transport/credentials": "is compiled beside the loops, and chosen from on the goroutines of handshakes",

	"proxy/transport/handshake": "a handshake runs on a goroutine of its own",
}

// exception lets one file use what banned forbids, for a reason.
type exception struct {
	file   string
	uses   []string
	reason string
}

var exceptions = []exception{
	{"loop/backend.go", []string{"time.Now"}, "the one place where the loop reads the clock, once per Poll"},
	{"loop/loop.go", []string{"import fmt"}, "errors of New"},
	{"loop/epoll.go", []string{"import fmt"}, "errors at start"},
	{"loop/listen.go", []string{"import fmt"}, "opens listeners, before the loop runs"},
	{"loop/listen_adopt.go", []string{"import fmt"}, "takes listeners over, before the loop runs"},
	{"loop/listen_unix.go", []string{"import fmt", "defer", "timer"}, "opens listeners, before the loop runs, and removes their files behind it"},
	{"loop/steering.go", []string{"import fmt"}, "prepares listeners, before the loop runs"},
	{"loop/sockopts.go", []string{"import fmt"}, "checks options when the configuration is loaded"},
	{"loop/relisten.go", []string{"import fmt", "defer"}, "other options for listeners, when the configuration changes"},
	{"loop/remote.go", []string{"import fmt"}, "prepares addresses when the configuration is loaded or names are resolved"},
	{"loop/uring.go", []string{"import fmt", "timer"}, "errors that end the loop; a pause when the kernel has no memory for anything"},
	{"loop/uring_ring.go", []string{"import fmt", "defer"}, "creates and probes the ring, at start"},
	{"loop/uring_features.go", []string{"import sync"}, "probes once per process"},
	{"loop/uring_probe.go", []string{"import fmt", "defer", "time.Now"}, "tries the kernel out, once per process"},
	{"proto/tls/aesgcm/gcm.go", []string{"import encoding/binary"}, "encoding/binary's byte orders, which compile to a load and a swap"},
	{"proto/tls/cipher.go", []string{"import encoding/binary"}, "as above"},
	{"proto/tls/keys.go", []string{"import encoding/binary"}, "as above"},
	{"proto/proxyproto/append.go", []string{"import encoding/binary"}, "as above"},
	{"proto/proxyproto/parse.go", []string{"import encoding/binary"}, "as above"},
	{"proxy/snapshot/tls.go", []string{"import fmt"}, "builds what a reload exchanges"},
	{"proxy/snapshot/snapshot.go", []string{"import fmt"}, "builds what a reload exchanges"},
	{"proxy/snapshot/filters.go", []string{"import fmt"}, "builds what a reload exchanges"},
	{"proxy/snapshot/filters_auth.go", []string{"import fmt", "time.Now"}, "builds what a reload exchanges"},
	{"proxy/snapshot/registry.go", []string{"import fmt"}, "builds what a reload exchanges"},
	{"tune/target.go", []string{"import os", "import golang.org/x/sys/unix"}, "the one file that opens files: the machine's settings and the note of what they were"},
	{"upstream/cluster.go", []string{"import fmt", "import sync"}, "errors of NewCluster; endpoints and weights are changed by one goroutine at a time, none of them a loop"},
	{"upstream/config.go", []string{"import fmt"}, "checks the configuration"},
}

// buildTags are the tags that something sets: the Makefile, a test command or
// the tool chain. A file behind another one is never compiled.
var buildTags = map[string]bool{
	"giouring":   true, // make build
	"assert":     true, // make test, the simulator
	"race":       true,
	"cpuprofile": true, // bench -profile
	"linux":      true,
	"amd64":      true,
	"arm64":      true,
}

// forbiddenNames say nothing about what is inside.
var forbiddenNames = map[string]bool{
	"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "misc": true, "shared": true, "base": true, "lib": true,
}
