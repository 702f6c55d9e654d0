// Package consul finds endpoints in Consul's catalog, by blocking queries for the health of a service.
package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"zproxy/config"
	"zproxy/upstream/discover"
	"zproxy/upstream/discover/api"
)

const (
	// queryGrace is how much longer than its wait a query may take: Consul adds up to a sixteenth by itself.
	queryGrace = 10 * time.Second
	// queryInterval is from one query to the next at the least, however often something changes.
	queryInterval = 100 * time.Millisecond
	// pollInterval is the same where Consul gives no index to wait for a change of.
	pollInterval = time.Second
)

type source struct {
	cfg    *config.DiscoverConsul
	client *api.Client
	grace  time.Duration
}

// New makes the source that a configuration asks for.
func New(c *config.DiscoverConsul) (discover.Source, error) {
	conf, err := api.TLS(c.TLS)
	if err != nil {
		return nil, err
	}
	return &source{cfg: c, client: api.NewClient(c.URL, conf), grace: queryGrace}, nil
}

func (s *source) Run(ctx context.Context, to discover.Sink) {
	defer s.client.Close()
	failures := 0
	var index uint64 // what has changed since is waited for; 0: nothing is
	for {
		began := time.Now()
		list, next, err := s.query(ctx, index)
		if ctx.Err() != nil {
			return
		}
		pause := queryInterval - time.Since(began)
		if err != nil {
			to.Failed(fmt.Errorf("%s: %w", s.cfg.URL, err))
			failures++
			index, pause = 0, discover.Pause(failures) // what there is now is asked for at once then
		} else {
			to.Found(list)
			failures = 0
			if next == 0 {
				pause = pollInterval - time.Since(began)
			}
			index = following(index, next)
		}
		if !discover.Sleep(ctx, pause) {
			return
		}
	}
}

// following is the index to ask with after a response with index got: one that has gone back, as it does where Consul's
// servers are restored from a snapshot, is begun with anew, and one of 0, which never blocks, is none.
func following(asked, got uint64) uint64 {
	switch {
	case got < asked && got != 0:
		return 0
	default:
		return max(got, 1)
	}
}

// query asks for the endpoints that there are, once there has been a change since index.
func (s *source) query(ctx context.Context, index uint64) (list []discover.Endpoint, next uint64, err error) {
	token := ""
	if s.cfg.TokenFile != "" {
		if token, err = api.Token(s.cfg.TokenFile); err != nil {
			return nil, 0, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.QueryWait+s.cfg.QueryWait/16+s.grace)
	defer cancel()
	res, err := s.client.Get(ctx, "/v1/health/service/"+url.PathEscape(s.cfg.Service), s.parameters(index), "X-Consul-Token", token)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	if list, err = s.read(json.NewDecoder(io.LimitReader(res.Body, api.MaxBytes))); err != nil {
		return nil, 0, err
	}
	if len(list) == 0 {
		switch { // there may be some
		case res.Header.Get("X-Consul-Results-Filtered-By-ACLs") == "true":
			return nil, 0, errors.New("the token may not read the service or its nodes: it needs service:read and node:read")
		case s.cfg.Stale && res.Header.Get("X-Consul-KnownLeader") == "false":
			return nil, 0, errors.New("the server that answers knows no leader")
		}
	}
	next, _ = strconv.ParseUint(res.Header.Get("X-Consul-Index"), 10, 64) // 0 if there is none
	return list, next, nil
}

func (s *source) parameters(index uint64) url.Values {
	c := s.cfg
	q := url.Values{"wait": {strconv.FormatInt(c.QueryWait.Milliseconds(), 10) + "ms"}}
	for key, value := range map[string]string{"filter": c.Filter, "dc": c.Datacenter, "ns": c.Namespace, "partition": c.Partition} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if len(c.Tags) > 0 {
		q["tag"] = c.Tags
	}
	if c.Health == "passing" {
		q.Set("passing", "true")
	}
	if c.Stale {
		q.Set("stale", "")
	}
	if index != 0 {
		q.Set("index", strconv.FormatUint(index, 10))
	}
	return q
}
