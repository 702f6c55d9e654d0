package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"zproxy/upstream/discover/api"
)

// event is one of a watch, or its end.
type event struct {
	Type   string
	Object json.RawMessage
	end    bool
	err    error // of the end, nil: it came as it should
}

// maxEvent is how long an event may be. An object in etcd has at most 1.5 MiB.
const maxEvent = 16 << 20

// read reads the events of a watch, and its end, until ctx is done.
func read(ctx context.Context, body io.Reader, to chan<- event) {
	limit := &allowance{from: body}
	dec := json.NewDecoder(limit)
	for {
		limit.left = maxEvent
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			e.end = true
		} else if err != nil {
			e.end, e.err = true, nonsense(err)
		}
		select {
		case to <- e:
		case <-ctx.Done():
			return
		}
		if e.end {
			return
		}
	}
}

// nonsense tells JSON that makes no sense from a connection that ended within some.
func nonsense(err error) error {
	switch {
	case err == nil || errors.Is(err, api.ErrCut):
		return err
	case api.IsCut(err):
		return api.ErrCut
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) || errors.Is(err, errTooLong) {
		return fmt.Errorf("%w: %w", errNonsense, err)
	}
	return err
}

var errTooLong = errors.New("it is too long")

// allowance is what may be read of a body until there is more.
type allowance struct {
	from io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLong
	}
	n, err := a.from.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}
