package consul

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strings"

	"zproxy/upstream/discover"
	"zproxy/upstream/discover/api"
)

// instance is an entry of /v1/health/service, as far as it is of use here.
type instance struct {
	Node *struct {
		Node, Address, Datacenter string
		Meta                      map[string]string
		Locality                  *locality
	}
	Service *struct {
		ID, Address string
		Port        int
		Ports       []struct {
			Port    int
			Default bool
		}
		Tags     []string
		Meta     map[string]string
		Weights  struct{ Passing, Warning int }
		Locality *locality
	}
	Checks []struct{ Status string }
}

type locality struct{ Zone string }

// read reads a list of instances, one after the other, and has those that are well enough.
func (s *source) read(dec *json.Decoder) ([]discover.Endpoint, error) {
	list := []discover.Endpoint{}
	known := map[string]int{} // in list, by address
	switch t, err := dec.Token(); {
	case err != nil:
		return nil, nonsense(err)
	case t == nil: // null is how some have an empty list
		return list, nil
	case t != json.Delim('['):
		return nil, fmt.Errorf("a response that makes no sense: it begins with %v, expected a list", t)
	}
	for dec.More() {
		var i instance
		if err := dec.Decode(&i); err != nil {
			return nil, nonsense(err)
		}
		e, err := s.endpoint(&i)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		if at, twice := known[e.Address]; !twice {
			known[e.Address] = len(list)
			list = append(list, *e)
		} else if e.Weight > list[at].Weight { // registered twice, it is still one
			list[at] = *e
		}
	}
	_, err := dec.Token()
	return list, nonsense(err)
}

func nonsense(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, api.ErrCut):
		return err
	case api.IsCut(err):
		return api.ErrCut
	}
	return fmt.Errorf("a response that makes no sense: %w", err)
}

// endpoint is an instance, nil if it is not well enough. Its checks, those of its node included, are as one that is the worst.
func (s *source) endpoint(i *instance) (*discover.Endpoint, error) {
	if i.Service == nil || i.Node == nil {
		return nil, errors.New("an instance without service or node")
	}
	weight := i.Service.Weights.Passing
	for _, c := range i.Checks {
		switch {
		case c.Status == "passing":
		case c.Status == "warning" && s.cfg.Health == "warning":
			weight = i.Service.Weights.Warning
		default:
			return nil, nil
		}
	}
	at, err := i.address()
	if err != nil {
		return nil, err
	}
	return &discover.Endpoint{Address: at, Weight: max(1, weight), Zone: s.zone(i), Labels: i.labels()}, nil
}

// address is where an instance is: at an address of its own, or that of its node.
func (i *instance) address() (string, error) {
	host, port := i.Service.Address, i.Service.Port
	if host == "" {
		host = i.Node.Address
	}
	for _, p := range i.Service.Ports {
		if p.Default {
			port = p.Port
		}
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return "", fmt.Errorf("instance %q on node %q has the address %q: expected an IP address, names are not looked up here", i.Service.ID, i.Node.Node, host)
	}
	if port < 1 || port > math.MaxUint16 {
		return "", fmt.Errorf("instance %q on node %q has the port %d: expected 1 to 65535", i.Service.ID, i.Node.Node, port)
	}
	return netip.AddrPortFrom(at.Unmap(), uint16(port)).String(), nil
}

func (s *source) zone(i *instance) string {
	for _, meta := range []map[string]string{i.Service.Meta, i.Node.Meta} {
		if zone := meta[s.cfg.ZoneMeta]; zone != "" {
			return zone
		}
	}
	for _, l := range []*locality{i.Service.Locality, i.Node.Locality} {
		if l != nil && l.Zone != "" {
			return l.Zone
		}
	}
	return i.Node.Datacenter
}

// labels are the metadata of node and instance, of which the latter counts more, the node's name and the tags. A tag that is
// "name=value" is a label, any other one is with the value "true", where metadata does not say something else.
func (i *instance) labels() map[string]string {
	all := map[string]string{}
	maps.Copy(all, i.Node.Meta)
	maps.Copy(all, i.Service.Meta)
	all["node"] = i.Node.Node
	for _, tag := range i.Service.Tags {
		name, value, ok := strings.Cut(tag, "=")
		if !ok {
			value = "true"
		}
		if _, known := all[name]; !known && name != "" {
			all[name] = value
		}
	}
	if len(i.Service.Tags) > 0 {
		all["tags"] = strings.Join(i.Service.Tags, ",")
	}
	return all
}
