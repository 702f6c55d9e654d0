package kubernetes

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"zproxy/config"
	"zproxy/upstream/discover"
)

// slice is an EndpointSlice of discovery.k8s.io/v1, as far as it is of use here.
type slice struct {
	Metadata struct {
		Name, ResourceVersion string
	}
	AddressType string
	Endpoints   []endpoint
	Ports       []port
}

type endpoint struct {
	Addresses  []string
	Conditions struct{ Ready, Serving, Terminating *bool }
	NodeName   string
	Zone       string
	TargetRef  *struct{ Kind, Name string }
	Hints      *struct{ ForZones []struct{ Name string } }
}

type port struct {
	Name, Protocol string
	Port           int // 0: all
}

// part is what a slice says about a service.
type part struct {
	endpoints []discover.Endpoint
	ports     []string // that it has, if endpoints are at none of those that are asked for
	err       error
}

// service is what all slices say.
type service struct {
	cfg   *config.DiscoverKubernetes
	parts map[string]*part // by the name of the slice
}

func (s *service) put(from *slice) { s.parts[from.Metadata.Name] = s.part(from) }

func (s *service) part(from *slice) *part {
	p := new(part)
	switch family := strings.ToLower(from.AddressType); {
	case family != "ipv4" && family != "ipv6":
		p.err = fmt.Errorf("EndpointSlice %s has addresses of the type %s: IPv4 and IPv6 can be used, names are not looked up here", from.Metadata.Name, from.AddressType)
		return p
	case s.cfg.Addresses != "any" && s.cfg.Addresses != family:
		return p
	}
	number, ok := s.port(from.Ports)
	for i := range from.Endpoints {
		e := &from.Endpoints[i]
		draining, use := e.state()
		if !use || len(e.Addresses) == 0 {
			continue
		}
		if !ok {
			p.ports = names(from.Ports)
			return p
		}
		at, err := netip.ParseAddr(e.Addresses[0])
		if err != nil {
			p.err = fmt.Errorf("EndpointSlice %s has the address %q, expected an IP address", from.Metadata.Name, e.Addresses[0])
			return p
		}
		own := discover.Endpoint{Address: netip.AddrPortFrom(at.Unmap(), number).String(), Weight: 1, Draining: draining, Labels: map[string]string{}}
		e.place(&own)
		p.endpoints = append(p.endpoints, own)
	}
	return p
}

// state says whether an endpoint gets requests, and whether only where no other does. One that ends and still serves does; where
// nothing is said, it is ready.
func (e *endpoint) state() (draining, use bool) {
	is := func(condition *bool, unknown bool) bool {
		if condition == nil {
			return unknown
		}
		return *condition
	}
	ready := is(e.Conditions.Ready, true)
	switch {
	case is(e.Conditions.Terminating, false):
		return true, is(e.Conditions.Serving, ready)
	default:
		return false, ready
	}
}

// place says where an endpoint is. The zone that Kubernetes hints it for counts more than the one it is in: it
// says whose requests it is meant for.
func (e *endpoint) place(to *discover.Endpoint) {
	to.Zone = e.Zone
	if e.Hints != nil && len(e.Hints.ForZones) > 0 {
		if !slices.ContainsFunc(e.Hints.ForZones, func(z struct{ Name string }) bool { return z.Name == e.Zone }) {
			to.Zone = e.Hints.ForZones[0].Name
		}
	}
	for name, value := range map[string]string{"node": e.NodeName, "zone": e.Zone} {
		if value != "" {
			to.Labels[name] = value
		}
	}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		to.Labels["pod"] = e.TargetRef.Name
	}
}

// port is the one that is asked for; not ok: there is none.
func (s *service) port(all []port) (number uint16, ok bool) {
	tcp := 0
	for _, p := range all {
		if p.Protocol != "" && p.Protocol != "TCP" || p.Port < 0 || p.Port > math.MaxUint16 {
			continue
		}
		tcp++
		switch {
		case s.cfg.PortName != "":
			if p.Name == s.cfg.PortName && p.Port != 0 {
				return uint16(p.Port), true
			}
		case s.cfg.Port != 0:
			if p.Port == s.cfg.Port || p.Port == 0 {
				return uint16(s.cfg.Port), true
			}
		default:
			number = uint16(p.Port)
		}
	}
	return number, tcp == 1 && number != 0
}

// names are those of ports, for an error.
func names(all []port) (list []string) {
	for _, p := range all {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %d", p.Name, p.Port)))
	}
	return list
}

// endpoints are those of all slices. One that several have, as while it moves from one to another, is ready if it is so in any.
func (s *service) endpoints() ([]discover.Endpoint, error) {
	list := []discover.Endpoint{}
	known := map[string]int{}
	var others []string
	for _, name := range sorted(s.parts) {
		p := s.parts[name]
		if p.err != nil {
			return nil, p.err
		}
		others = append(others, p.ports...)
		for _, e := range p.endpoints {
			if i, twice := known[e.Address]; !twice {
				known[e.Address] = len(list)
				list = append(list, e)
			} else if list[i].Draining && !e.Draining {
				list[i] = e
			}
		}
	}
	if len(list) == 0 && len(others) > 0 {
		slices.Sort(others)
		return nil, fmt.Errorf("the service's ports are %s: expected port or port_name to be one of them", strings.Join(slices.Compact(others), ", "))
	}
	return list, nil
}
