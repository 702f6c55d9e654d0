// Package kubernetes finds endpoints in the EndpointSlices of a service, which it lists and watches at
// Kubernetes' API server.
package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"zproxy/config"
	"zproxy/upstream/discover"
	"zproxy/upstream/discover/api"
)

const (
	// watchTime is how long a watch is asked to last at the least; it is up to a quarter longer, so that not all end together.
	watchTime = 4 * time.Minute
	// responseTime is for a page of a list, for the beginning of a watch, and how much longer a watch may last than was asked for.
	responseTime = 30 * time.Second
	// steadyTime is how long a watch lasts that counts as one that works, though it had nothing to say.
	steadyTime = 10 * time.Second
	// tellInterval is from one list to the next at the least: changes that come faster are taken together.
	tellInterval = 50 * time.Millisecond
	// pageSlices is how many slices are asked for at once.
	pageSlices = 100
)

// errExpired is for a version that the server knows no more (410 Gone): what there is has to be listed anew.
var errExpired = errors.New("the version is too old")

// errNonsense is for what is no part of the protocol.
var errNonsense = errors.New("a response that makes no sense")

type source struct {
	cfg    *config.DiscoverKubernetes
	access func() (*access, error)
	// As the constants have them.
	watchTime, responseTime, steadyTime time.Duration

	to      discover.Sink
	service service
	version string // that service has; "": none, it is to be listed
	works   bool   // a watch has, since the last attempt began
	unfit   bool   // what service has cannot be used
}

// New makes the source that a configuration asks for.
func New(c *config.DiscoverKubernetes) discover.Source {
	return &source{cfg: c, access: func() (*access, error) { return accessFor(c) }, watchTime: watchTime, responseTime: responseTime, steadyTime: steadyTime}
}

func (s *source) Run(ctx context.Context, to discover.Sink) {
	s.to = to
	for failures := 0; ; {
		s.works = false
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if failures++; s.works {
			failures = 1
		}
		switch {
		case err == nil || s.works && api.IsCut(err): // a watch ends now and then, and is gone on with
		case errors.Is(err, errExpired):
			s.version = ""
		default:
			to.Failed(err)
			if errors.Is(err, errNonsense) {
				s.version = ""
			}
		}
		if !discover.Sleep(ctx, discover.Pause(failures)) {
			return
		}
	}
}

// follow lists what there is, unless it is known, and watches it until the watch ends. Credentials are read each time.
func (s *source) follow(ctx context.Context) error {
	a, err := s.access()
	if err != nil {
		return err
	}
	c := &client{Client: api.NewClient(a.url, a.tls), access: a, service: s.cfg.Service}
	defer c.Close()
	if s.version == "" {
		err = s.list(ctx, c)
	}
	if err == nil {
		err = s.watch(ctx, c)
	}
	if err != nil && !errors.Is(err, errExpired) {
		return fmt.Errorf("%s: %w", a.url, err)
	}
	return err
}

// client asks for the EndpointSlices of a service.
type client struct {
	*api.Client
	access  *access
	service string
}

func (c *client) get(ctx context.Context, query url.Values) (*http.Response, error) {
	bearer, err := c.access.bearer()
	if err != nil {
		return nil, err
	}
	query.Set("labelSelector", "kubernetes.io/service-name="+c.service)
	res, err := c.Get(ctx, "/apis/discovery.k8s.io/v1/namespaces/"+c.access.namespace+"/endpointslices", query, "Authorization", bearer)
	var refused *api.StatusError
	if errors.As(err, &refused) {
		s := status{Code: refused.Code}
		if json.Unmarshal(refused.Body, &s) != nil || s.Message == "" {
			s.Message = refused.Error()
		}
		s.Code = refused.Code
		return nil, s.err()
	}
	return res, err
}

// status is Kubernetes' Status, which says what is wrong.
type status struct {
	Code    int
	Message string
}

func (s *status) err() error {
	if s.Code == http.StatusGone {
		return errExpired
	}
	hint := ""
	switch s.Code {
	case http.StatusForbidden:
		hint = " (list and watch of endpointslices need to be allowed)"
	case http.StatusNotFound:
		hint = " (discovery.k8s.io/v1 is in Kubernetes 1.21 and later)"
	}
	return fmt.Errorf("status %d: %s%s", s.Code, cmp.Or(s.Message, "no reason"), hint)
}

// list gets all slices, page by page. Until the last one has come, what was known before stays.
func (s *source) list(ctx context.Context, c *client) error {
	all := service{cfg: s.cfg, parts: map[string]*part{}}
	query := url.Values{"limit": {strconv.Itoa(pageSlices)}}
	for {
		var page struct {
			Metadata struct{ ResourceVersion, Continue string }
			Items    []slice
		}
		if err := s.page(ctx, c, query, &page); err != nil {
			return err
		}
		for i := range page.Items {
			if page.Items[i].Metadata.Name == "" {
				return fmt.Errorf("%w: an EndpointSlice without a name", errNonsense)
			}
			all.put(&page.Items[i])
		}
		if page.Metadata.Continue != "" {
			query.Set("continue", page.Metadata.Continue)
			continue
		}
		if page.Metadata.ResourceVersion == "" {
			return fmt.Errorf("%w: a list without a version", errNonsense)
		}
		s.service, s.version = all, page.Metadata.ResourceVersion
		s.tell()
		return nil
	}
}

func (s *source) page(ctx context.Context, c *client, query url.Values, to any) error {
	ctx, cancel := context.WithTimeout(ctx, s.responseTime)
	defer cancel()
	res, err := c.get(ctx, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return nonsense(json.NewDecoder(&allowance{from: res.Body, left: api.MaxBytes}).Decode(to))
}

// tell says what all slices say together.
func (s *source) tell() {
	list, err := s.service.endpoints()
	if s.unfit = err != nil; s.unfit {
		s.to.Failed(err)
	} else {
		s.to.Found(list)
	}
}

// same says that nothing has changed since.
func (s *source) same() {
	if !s.unfit {
		s.to.Same()
	}
}

// watch follows what changes until the watch ends, nil: as it should.
func (s *source) watch(ctx context.Context, c *client) error {
	lasts := s.watchTime + rand.N(s.watchTime/4)
	ctx, cancel := context.WithTimeout(ctx, lasts+s.responseTime)
	defer cancel()
	late := time.AfterFunc(s.responseTime, cancel)
	res, err := c.get(ctx, url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {s.version},
		"timeoutSeconds": {strconv.Itoa(int(max(lasts, time.Second) / time.Second))}})
	late.Stop()
	if err != nil {
		return err
	}
	events := make(chan event)
	done := make(chan struct{})
	go func() {
		defer close(done)
		read(ctx, res.Body, events)
	}()
	defer func() { cancel(); res.Body.Close(); <-done }()
	return s.heed(ctx, events)
}

// heed takes events until there is one of the end, or ctx is done. Many that come together are told together.
func (s *source) heed(ctx context.Context, events <-chan event) error {
	s.same()
	steady := time.NewTimer(s.steadyTime)
	defer steady.Stop()
	var due <-chan time.Time // when there is something to tell
	for {
		select {
		case e := <-events:
			changed, err := s.take(&e)
			if err != nil || e.end {
				if due != nil {
					s.tell()
				}
				return err
			}
			s.works = true
			if changed && due == nil {
				due = time.After(tellInterval)
			} else if !changed {
				s.same()
			}
		case <-due:
			due = nil
			s.tell()
		case <-steady.C:
			s.works = true
		case <-ctx.Done():
			return errors.New("the watch does not end in time")
		}
	}
}

// take has an event change what is known.
func (s *source) take(e *event) (changed bool, err error) {
	switch {
	case e.err != nil || e.end:
		return false, e.err
	case e.Type == "ERROR":
		var why status
		if json.Unmarshal(e.Object, &why) != nil {
			return false, fmt.Errorf("%w: an event ERROR without a reason", errNonsense)
		}
		return false, why.err()
	}
	var of slice
	if err := json.Unmarshal(e.Object, &of); err != nil {
		return false, fmt.Errorf("%w: %w", errNonsense, err)
	}
	name, version := of.Metadata.Name, of.Metadata.ResourceVersion
	if version == "" || name == "" && e.Type != "BOOKMARK" {
		return false, fmt.Errorf("%w: an event %q without name and version", errNonsense, e.Type)
	}
	switch e.Type {
	case "ADDED", "MODIFIED":
		s.service.put(&of)
	case "DELETED":
		delete(s.service.parts, name)
	case "BOOKMARK":
		s.version = version
		return false, nil
	default:
		return false, fmt.Errorf("%w: an event %q", errNonsense, e.Type)
	}
	s.version = version
	return true, nil
}

func sorted(parts map[string]*part) []string { return slices.Sorted(maps.Keys(parts)) }
