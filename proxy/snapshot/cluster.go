package snapshot

import (
	"bytes"
	stdtls "crypto/tls"
	"strings"
	"sync/atomic"

	"zproxy/config"
	"zproxy/loop"
	"zproxy/proxy/transport"
	"zproxy/upstream"
)

// OriginTLS is what connections to the endpoints of u are put into TLS with, in their order.
func OriginTLS(u *config.Upstream) (list []*stdtls.Config, err error) {
	clients, err := compileOrigins(u)
	for _, c := range clients {
		if c != nil {
			list = append(list, c.Config)
		}
	}
	return list, err
}

// offered are the protocols that endpoints of u may choose of. One that takes HTTP/1.1
// where HTTP/2 is expected says by that that it has it no more.
func offered(u *config.Upstream) []string {
	if u.Protocol == "auto" && u.Speaks() == "h2" {
		return ALPN([]string{"h2", "http1"})
	}
	return ALPN([]string{u.Speaks()})
}

// withSpares lists the upstreams of c, then their subsets that routes name, and behind all of them the spares of
// those that have one.
func withSpares(c *config.Config) (all []*config.Upstream) {
	byName := make(map[string]*config.Upstream, len(c.Upstreams))
	for i := range c.Upstreams {
		all = append(all, &c.Upstreams[i])
		byName[c.Upstreams[i].Name] = &c.Upstreams[i]
	}
	known := map[string]bool{}
	for i := range c.Routes {
		for _, s := range c.Routes[i].Subsets() {
			if key := s.Key(); s.Labels != nil && !known[key] {
				known[key] = true
				all = append(all, byName[s.Upstream].Part(s.Labels))
			}
		}
	}
	for _, u := range all {
		if u.Protocol == "auto" && u.Speaks() == "h2" {
			spare := *u
			spare.Agreed, spare.Pool.Prewarm = "http1", 0
			all = append(all, &spare)
		}
	}
	return all
}

// keyOf is that of u, or of the subset it is.
func keyOf(u *config.Upstream) string { return config.Subset{Upstream: u.Name, Labels: u.Subset}.Key() }

// TakesHeadsOf says that a request whose head was written for other can be sent to c.
func (c *Cluster) TakesHeadsOf(other *Cluster) bool {
	return c.H2 == other.H2 && bytes.Equal(c.Host, other.Host) && (!c.H2 || bytes.Equal(c.OriginScheme(), other.OriginScheme()))
}

// Cluster is what is to be known of an upstream. Immutable but for Lost.
type Cluster struct {
	config      *config.Upstream // a copy of what it is made from
	Name        string
	Shared      *upstream.Cluster
	Host        []byte // sent instead of the client's Host, empty: keep
	DefaultHost []byte
	H2          bool                // its endpoints speak HTTP/2
	Spare       int                 // of the same endpoints by HTTP/1, where h2 is what they agree to; 0: none, else its number and 1
	Lost        atomic.Bool         // an endpoint does not agree to HTTP/2 any more: spare serves
	TLS         []*transport.Client // by endpoint; nil: in clear
	EndsDown    bool                // connections to an endpoint that active checks find down end
	Retry       Retry
	Key         *Key    // what it balances by; nil: no key
	Sticky      *Sticky // nil: clients are told of no endpoint
	SendProxy   uint8   // version of the PROXY protocol that connections begin with, 0: none
	TLVs        TLVs    // what it says besides addresses
	Socket      loop.SockOpts

	ConnectNs, ResponseNs, IdleNs, QueueNs int64
	ContinueNs                             int64 // until a 100 is sent in the origin's place, 0: never
	IdleTimeoutNs                          int64 // of a connection without exchanges
}

// TLVs are what a header of the PROXY protocol says besides addresses.
type TLVs uint8

const (
	TellALPN TLVs = 1 << iota
	TellAuthority
	TellSSL
	TellUniqueID
)

func compileTLVs(names []string) (t TLVs) {
	for _, name := range names {
		t |= map[string]TLVs{"alpn": TellALPN, "authority": TellAuthority, "ssl": TellSSL, "unique_id": TellUniqueID}[name]
	}
	return t
}

func compileOutlier(o *config.OutlierDetection) upstream.Outlier {
	if o == nil {
		return upstream.Outlier{}
	}
	return upstream.Outlier{
		Errors: o.Consecutive5xx, Ejection: o.BaseEjectionTime, Longest: max(o.BaseEjectionTime, o.MaxEjectionTime),
		MaxPercent: o.MaxEjectionPercent, Panic: o.PanicThreshold,
	}
}

func compileAdaptive(a *config.AdaptiveConcurrency) upstream.AdaptiveConcurrency {
	if a == nil {
		return upstream.AdaptiveConcurrency{}
	}
	return upstream.AdaptiveConcurrency{
		Min: a.MinLimit, Max: max(a.MinLimit, a.MaxLimit), Window: a.Window, Interval: a.ProbeInterval, Jitter: a.Jitter, Tolerance: a.Tolerance,
	}
}

// slotsOf is how many slots u has for endpoints that are found; 0: they are listed.
func slotsOf(u *config.Upstream) int {
	if u.Discover == nil {
		return 0
	}
	return max(1, u.Room.Slots) // 1: only to be looked at
}

func compileCluster(u *config.Upstream, loops int, near [][]int) (*Cluster, error) {
	balance, err := upstream.ParseBalance(u.Balance)
	if err != nil {
		return nil, err
	}
	uc := upstream.Config{
		Name: u.Name, Labels: u.Subset, Balance: balance, Anonymous: u.Speaks() != "http1",
		MaxConnections: u.Pool.MaxConnections, MaxIdle: u.Pool.MaxIdle,
		Prewarm: u.Pool.Prewarm, Queue: u.Pool.Queue, MaxRequests: u.Pool.MaxRequests,
		IdleTimeout: u.Pool.IdleTimeout, QueueTimeout: u.Pool.QueueTimeout,
		ConnectTimeout: u.Timeouts.Connect, ResponseTimeout: u.Timeouts.Response,
		StreamTimeout: u.Timeouts.Idle,
		CheckFirst:    u.HealthCheck != nil && u.HealthCheck.Initial != "up",
		Outlier:       compileOutlier(u.Outlier),
		Retries:       compileRetryBudget(u),
		Adaptive:      compileAdaptive(u.Adaptive),
		LoadPercent:   u.HashBalanceFactor,
		SlowStart:     u.SlowStart,
		Zone:          u.Zone,
	}
	if u.Sticky != nil {
		uc.StickySecret = string(u.Sticky.Secret)
	}
	for _, e := range u.Endpoints {
		uc.Endpoints = append(uc.Endpoints, upstream.EndpointConfig{Address: e.Address, Weight: e.Weight, Priority: e.Priority, Backup: e.Backup, Zone: e.Zone})
	}
	uc.Slots = slotsOf(u)
	shared, err := upstream.NewCluster(uc, loops, near...)
	if err != nil {
		return nil, err
	}
	secured, err := compileOrigins(u)
	if err != nil {
		return nil, err
	}
	defaultHost := u.Name
	if u.Discover == nil {
		defaultHost = u.Endpoints[0].Address
	}
	if strings.HasPrefix(defaultHost, "unix:") {
		defaultHost = "localhost"
	}
	own := *u // u is one of a list, all of which would stay as long as this cluster does
	return &Cluster{
		config: &own, Name: u.Name, Shared: shared, Host: []byte(u.Host), DefaultHost: []byte(defaultHost),
		EndsDown:   u.HealthCheck != nil && u.HealthCheck.OnDown == "end",
		Retry:      compileRetry(u),
		Key:        compileKey(u),
		Sticky:     compileSticky(u),
		SendProxy:  map[string]uint8{"v1": 1, "v2": 2}[u.SendProxy],
		TLVs:       compileTLVs(u.SendProxyTLVs),
		Socket:     SockOpts(&u.Socket),
		ConnectNs:  int64(u.Timeouts.Connect),
		ResponseNs: int64(u.Timeouts.Response),
		IdleNs:     int64(u.Timeouts.Idle),
		ContinueNs: int64(u.Timeouts.Continue),
		QueueNs:    int64(u.Pool.QueueTimeout),

		H2:            u.Speaks() != "http1",
		TLS:           secured,
		IdleTimeoutNs: int64(u.Pool.IdleTimeout),
	}, nil
}
