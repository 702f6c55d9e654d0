package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"zproxy/admin"
)

const ctlUsage = `usage: zproxy ctl [-c FILE | -admin ADDRESS | -pid FILE] [-token FILE] [-json] COMMAND

  status                               the process
  upstreams                            upstreams and their endpoints
  connections [-all]                   clients' connections; -all: those to endpoints, too
  streams [-all]                       streams of HTTP/2
  exchanges [-older TIME]              requests under way, and what each waits for
  failures                             the last requests that failed, with reasons
  trace [-client ADDRESS] [-route PATH] [-for TIME]   what becomes of requests
  weight UPSTREAM ENDPOINT N|own       set an endpoint's weight
  drain, disable, enable UPSTREAM ENDPOINT   no new requests; none at all; as before
  add UPSTREAM ENDPOINT [WEIGHT]       add an endpoint
  remove UPSTREAM ENDPOINT             remove one
  end connection|exchange ID           end what connections or exchanges has listed
  log [info|warn|error|own]            the level of the process log, or set it
  rotate                               go on in a new access log
  config                               print the configuration's file
  put FILE                             serve by another configuration, and write it to the file
  reload                               read the configuration's file again
  diff                                 what was changed by hand, and what a reload would change

Lists take -client, -upstream, -endpoint, -route and -limit (0, the default: all).
`

// ctl is one call of zproxy ctl.
type ctl struct {
	to   admin.Target
	json bool
	out  io.Writer
	args []string
	err  io.Writer
}

// cmdCtl speaks the admin API.
func cmdCtl(args []string, out, errOut io.Writer) int {
	fs := flag.NewFlagSet("zproxy ctl", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.Usage = func() { fmt.Fprint(errOut, ctlUsage) }
	r := runningFlags(fs, "that of the process, which names its admin.address")
	c := &ctl{out: out, err: errOut}
	fs.BoolVar(&c.json, "json", false, "print what the API answers, for programs")
	if fs.Parse(args) != nil {
		return 2
	}
	if fs.NArg() == 0 || r.file == "" && r.admin == "" && r.pid == "" {
		fs.Usage()
		return 2
	}
	command := ctlCommands[fs.Arg(0)]
	if command == nil {
		fmt.Fprintf(errOut, "zproxy ctl: unknown command %q\n\n%s", fs.Arg(0), ctlUsage)
		return 2
	}
	c.args = fs.Args()[1:]
	var err error
	if c.to, err = r.target(); err == nil {
		err = command(c)
	}
	switch {
	case errors.Is(err, errUsage):
		fs.Usage()
		return 2
	case err != nil:
		fmt.Fprintln(errOut, err)
		return 1
	}
	return 0
}

var errUsage = errors.New("wrong usage")

var ctlCommands = map[string]func(*ctl) error{
	"status": (*ctl).status, "upstreams": (*ctl).upstreams, "connections": (*ctl).connections, "streams": (*ctl).streams,
	"exchanges": (*ctl).exchanges, "failures": (*ctl).failures, "trace": (*ctl).trace, "weight": (*ctl).weight,
	"drain": setState(admin.StateDrained), "disable": setState(admin.StateDisabled), "enable": setState(admin.StateEnabled),
	"add": (*ctl).add, "remove": (*ctl).remove, "end": (*ctl).end, "log": (*ctl).log, "rotate": (*ctl).rotate,
	"config": (*ctl).config, "put": (*ctl).put, "reload": (*ctl).reload, "diff": (*ctl).diff,
}

// call does an operation; with -json its answer is printed, and false is what there is for others to print.
func (c *ctl) call(method, path string, query url.Values, in, out any) (show bool, err error) {
	if !c.json {
		return true, c.to.Call(context.Background(), method, path, query, in, out)
	}
	var raw json.RawMessage
	if err := c.to.Call(context.Background(), method, path, query, in, &raw); err != nil {
		return false, err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", raw)
	return false, err
}

// table prints rows under a heading.
func (c *ctl) table(heading string, rows func(row func(cells ...any))) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	rows(func(cells ...any) {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			if text := fmt.Sprint(cell); text != "" {
				fmt.Fprint(w, printable(text))
			} else {
				fmt.Fprint(w, "-")
			}
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}

// printable keeps what clients have sent from steering the terminal.
func printable(text string) string {
	if q := strconv.QuoteToGraphic(text); q != `"`+text+`"` {
		return q[1 : len(q)-1]
	}
	return text
}

// only wants so many arguments.
func (c *ctl) only(n int) error {
	if len(c.args) != n {
		return errUsage
	}
	return nil
}

// page are the flags of a list, and more of one of them.
func (c *ctl) page(more func(*flag.FlagSet, url.Values)) (query url.Values, limit int, err error) {
	query = url.Values{}
	fs := flag.NewFlagSet("zproxy ctl", flag.ContinueOnError)
	fs.SetOutput(c.err)
	for _, name := range []string{"client", "upstream", "endpoint", "route"} {
		fs.Func(name, "only those", func(text string) error { query.Set(name, text); return nil })
	}
	fs.IntVar(&limit, "limit", 0, "how many at the most; 0: all")
	more(fs, query)
	if fs.Parse(c.args) != nil || fs.NArg() > 0 || limit < 0 {
		return nil, 0, errUsage
	}
	return query, limit, nil
}

func withAll(fs *flag.FlagSet, query url.Values) {
	fs.BoolFunc("all", "those to endpoints, too", func(string) error { query.Set("all", ""); return nil })
}

// listAll gets a list part by part, limit items of it at the most; 0: all.
func listAll[I any](c *ctl, path string, more func(*flag.FlagSet, url.Values)) (all []I, show bool, err error) {
	query, limit, err := c.page(more)
	if err != nil {
		return nil, false, err
	}
	all = []I{}
	for {
		var part struct {
			Items  []I    `json:"items"`
			Cursor string `json:"cursor"`
		}
		if limit > 0 {
			query.Set("limit", strconv.Itoa(min(limit-len(all), 1000)))
		}
		if err := c.to.Call(context.Background(), "GET", path, query, nil, &part); err != nil {
			return nil, false, err
		}
		all = append(all, part.Items...)
		if part.Cursor == "" || limit > 0 && len(all) >= limit {
			break
		}
		query.Set("cursor", part.Cursor)
	}
	if !c.json {
		return all, true, nil
	}
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return all, false, e.Encode(map[string]any{"items": all})
}

func (c *ctl) status() error {
	var p admin.Process
	if show, err := c.call("GET", "/process", nil, nil, &p); err != nil || !show {
		return err
	}
	_, err := fmt.Fprintf(c.out, "process %d, version %s, %s, up for %s, %d loops, configuration %s, %d changes by hand\n",
		p.PID, p.Version, p.State, (time.Duration(p.UptimeS) * time.Second).String(), p.Loops, p.Config, p.ByHand)
	return err
}

func (c *ctl) upstreams() error {
	var list admin.UpstreamList
	if show, err := c.call("GET", "/upstreams", nil, nil, &list); err != nil || !show {
		return err
	}
	return c.table("UPSTREAM PROTOCOL ENDPOINT STATE WEIGHT UP CONNECTIONS ACTIVE FAILURES REASON", func(row func(...any)) {
		for _, u := range list.Items {
			for _, e := range u.Endpoints {
				weight, state := strconv.Itoa(e.Weight), e.State
				if e.WeightSet {
					weight += "*"
				}
				if e.Added {
					state += ",added"
				}
				row(u.Name, u.Protocol, e.Address, state, weight, yesNo(e.Up), e.Connections, max(e.Active, e.Streams), e.Failures, e.Reason)
			}
		}
	})
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func (c *ctl) connections() error {
	list, show, err := listAll[admin.Connection](c, "/connections", withAll)
	if err != nil || !show {
		return err
	}
	return c.table("ID CLIENT LISTENER PROTOCOL TLS STATE REQUESTS ACTIVE QUEUED UPSTREAM ENDPOINT ROUTE", func(row func(...any)) {
		for _, r := range list {
			row(r.ID, r.Client, r.Listener, r.Protocol, yesNo(r.TLS), r.State, r.Requests, r.Active, r.Queued, r.Upstream, r.Endpoint, r.Route)
		}
	})
}

func (c *ctl) streams() error {
	list, show, err := listAll[admin.Stream](c, "/streams", withAll)
	if err != nil || !show {
		return err
	}
	return c.table("CONNECTION STREAM WITH CLIENT STATE QUEUED UPSTREAM ENDPOINT ROUTE", func(row func(...any)) {
		for _, r := range list {
			row(r.Connection, r.Stream, r.With, r.Client, r.State, r.Queued, r.Upstream, r.Endpoint, r.Route)
		}
	})
}

func (c *ctl) exchanges() error {
	list, show, err := listAll[admin.Exchange](c, "/exchanges", func(fs *flag.FlagSet, query url.Values) {
		fs.Func("older", "only those that began so long ago", func(text string) error {
			d, err := time.ParseDuration(text)
			query.Set("older_ms", strconv.FormatInt(d.Milliseconds(), 10))
			return err
		})
	})
	if err != nil || !show {
		return err
	}
	return c.table("ID CLIENT METHOD HOST TARGET ROUTE ENDPOINT AGE WAITED FOR", func(row func(...any)) {
		for _, r := range list {
			row(r.ID, r.Client, r.Method, r.Host, r.Target, r.Route, r.Endpoint, span(r.AgeS), span(r.WaitsS), r.WaitsFor)
		}
	})
}

func span(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

func (c *ctl) failures() error {
	var list admin.OutcomeList
	if show, err := c.call("GET", "/failures", nil, nil, &list); err != nil || !show {
		return err
	}
	return c.outcomes(list.Items)
}

func (c *ctl) outcomes(list []admin.Outcome) error {
	return c.table("TIME CLIENT METHOD HOST TARGET STATUS ENDPOINT GIVEN CONNECT RESPONSE TOTAL REASON", func(row func(...any)) {
		for _, r := range list {
			row(r.Time.Format("15:04:05.000"), r.Client, r.Method, r.Host, r.Target, r.Status, r.Endpoint, r.GivenMs, r.ConnectMs, r.ResponseMs, r.TotalMs, r.Reason)
		}
	})
}

func (c *ctl) trace() error {
	order := admin.TraceOrder{}
	lasts := 5 * time.Second
	fs := flag.NewFlagSet("zproxy ctl trace", flag.ContinueOnError)
	fs.SetOutput(c.err)
	fs.StringVar(&order.Client, "client", "", "only those of this `ADDRESS` or prefix")
	fs.StringVar(&order.Route, "route", "", "only those of the route with this `PATH`")
	fs.DurationVar(&lasts, "for", lasts, "how long")
	fs.IntVar(&order.Limit, "limit", 1000, "how many at the most")
	if fs.Parse(c.args) != nil || fs.NArg() > 0 {
		return errUsage
	}
	order.Seconds = lasts.Seconds()
	var got admin.TraceResult
	if show, err := c.call("POST", "/traces", nil, order, &got); err != nil || !show {
		return err
	}
	if err := c.outcomes(got.Items); err != nil {
		return err
	}
	if got.Lost > 0 {
		_, err := fmt.Fprintf(c.out, "%d more had no room: raise -limit\n", got.Lost)
		return err
	}
	return nil
}

// endpointPath is that of an endpoint of the API.
func endpointPath(upstream, endpoint string) string {
	return "/upstreams/" + url.PathEscape(upstream) + "/endpoints/" + url.PathEscape(endpoint)
}

// change does an operation that changes something, and says so.
func (c *ctl) change(method, path string, in any, says string) error {
	show, err := c.call(method, path, nil, in, nil)
	if err == nil && show {
		_, err = fmt.Fprintln(c.out, says)
	}
	return err
}

func (c *ctl) weight() error {
	if err := c.only(3); err != nil {
		return err
	}
	to := admin.NewWeight{}
	if c.args[2] != "own" {
		n, err := strconv.Atoi(c.args[2])
		if err != nil {
			return errUsage
		}
		to.Weight = &n
	}
	return c.change("PUT", endpointPath(c.args[0], c.args[1])+"/weight", to, "weight of "+c.args[1]+" is "+c.args[2])
}

func setState(state string) func(*ctl) error {
	return func(c *ctl) error {
		if err := c.only(2); err != nil {
			return err
		}
		return c.change("PUT", endpointPath(c.args[0], c.args[1])+"/state", admin.NewState{State: state}, c.args[1]+" is "+state)
	}
}

func (c *ctl) add() error {
	if len(c.args) != 2 && len(c.args) != 3 {
		return errUsage
	}
	e := admin.NewEndpoint{Address: c.args[1]}
	if len(c.args) == 3 {
		var err error
		if e.Weight, err = strconv.Atoi(c.args[2]); err != nil {
			return errUsage
		}
	}
	return c.change("POST", "/upstreams/"+url.PathEscape(c.args[0])+"/endpoints", e, e.Address+" is added")
}

func (c *ctl) remove() error {
	if err := c.only(2); err != nil {
		return err
	}
	return c.change("DELETE", endpointPath(c.args[0], c.args[1]), nil, c.args[1]+" is removed")
}

func (c *ctl) end() error {
	if len(c.args) != 2 || c.args[0] != "connection" && c.args[0] != "exchange" {
		return errUsage
	}
	return c.change("DELETE", "/"+c.args[0]+"s/"+url.PathEscape(c.args[1]), nil, c.args[0]+" "+c.args[1]+" is ended")
}

func (c *ctl) log() error {
	if len(c.args) == 0 {
		var l admin.LogLevel
		show, err := c.call("GET", "/log", nil, nil, &l)
		if err == nil && show {
			_, err = fmt.Fprintln(c.out, l.Level)
		}
		return err
	}
	if err := c.only(1); err != nil {
		return err
	}
	to := admin.NewLevel{Level: c.args[0]}
	if to.Level == "own" {
		to.Level = ""
	}
	return c.change("PUT", "/log", to, "log level is "+c.args[0])
}

func (c *ctl) rotate() error {
	return c.change("POST", "/logs/rotate", nil, "the access log was reopened")
}

func (c *ctl) config() error {
	var conf admin.Configuration
	show, err := c.call("GET", "/config", nil, nil, &conf)
	if err == nil && show {
		_, err = fmt.Fprint(c.out, conf.Text)
	}
	return err
}

func (c *ctl) put() error {
	if err := c.only(1); err != nil {
		return err
	}
	text, err := os.ReadFile(c.args[0])
	if err != nil {
		return err
	}
	return c.change("PUT", "/config", text, "the configuration is in force")
}

func (c *ctl) reload() error {
	return c.change("POST", "/reload", nil, "the configuration is in force")
}

func (c *ctl) diff() error {
	var d admin.Differences
	if show, err := c.call("GET", "/diff", nil, nil, &d); err != nil || !show {
		return err
	}
	if len(d.ByHand) > 0 {
		err := c.table("BY-HAND UPSTREAM ENDPOINT NOW FILE SINCE", func(row func(...any)) {
			for _, h := range d.ByHand {
				since := ""
				if !h.Since.IsZero() {
					since = h.Since.Format(time.RFC3339)
				}
				row(h.What, h.Upstream, h.Endpoint, h.Now, h.File, since)
			}
		})
		if err != nil {
			return err
		}
	} else {
		fmt.Fprintln(c.out, "nothing was changed by hand")
	}
	switch {
	case d.Error != "":
		fmt.Fprintln(c.out, "a reload would be refused: "+d.Error)
	case d.File == "":
		fmt.Fprintln(c.out, "a reload would change nothing")
	default:
		fmt.Fprintln(c.out, "a reload would change:")
		fmt.Fprint(c.out, d.File)
	}
	return nil
}
