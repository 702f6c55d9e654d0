package admin

import (
	"context"
	"errors"
)

// idle is a Control of a proxy that has nothing, and lets everybody in.
type idle struct{}

var errIdle = errors.New("nothing is there")

func (idle) Gate() *Gate                                            { return nil }
func (idle) Process() Process                                       { return Process{} }
func (idle) Upstreams() ([]Upstream, error)                         { return []Upstream{{Name: "a/b"}}, nil }
func (idle) Connections(Page) (ConnectionList, error)               { return ConnectionList{}, nil }
func (idle) Streams(Page) (StreamList, error)                       { return StreamList{}, nil }
func (idle) Exchanges(Page) (ExchangeList, error)                   { return ExchangeList{}, nil }
func (idle) Failures() ([]Outcome, error)                           { return nil, nil }
func (idle) EndConnection(string) error                             { return errIdle }
func (idle) EndExchange(string) error                               { return errIdle }
func (idle) SetState(_, _, _ string) (Endpoint, error)              { return Endpoint{}, errIdle }
func (idle) AddEndpoint(string, NewEndpoint) (Endpoint, error)      { return Endpoint{}, errIdle }
func (idle) RemoveEndpoint(_, _ string) error                       { return errIdle }
func (idle) Trace(context.Context, TraceOrder) (TraceResult, error) { return TraceResult{}, nil }
func (idle) LogLevel() LogLevel                                     { return LogLevel{Level: "info"} }
func (idle) SetLogLevel(string) error                               { return errIdle }
func (idle) RotateLogs() error                                      { return errIdle }
func (idle) Configuration() (Configuration, error)                  { return Configuration{}, nil }
func (idle) Differences() (Differences, error)                      { return Differences{}, nil }
func (idle) Audit(Audit)                                            {}
