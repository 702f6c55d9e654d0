package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer bounds what is read of a response.
const maxAnswer = 64 << 20

// Ask has the process with this admin address change its configuration, and gives what its
// Source.Change gave to result. The error is that process's own, or says that there is none.
func Ask(address string, c Change, result any) error {
	client := clientOf(address, changeLimit)
	method, path, query := http.MethodPost, reloadPath, url.Values{}
	if c.Text != nil {
		method, path = http.MethodPut, configPath
		query.Set(nameQuery, c.Name)
	}
	if c.Dry {
		query.Set(dryQuery, "")
	}
	req, err := http.NewRequest(method, "http://zproxy"+path+"?"+query.Encode(), bytes.NewReader(c.Text))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no zproxy answers at %s: %w", address, errors.Unwrap(err))
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the answer of %s breaks off: %w", address, err)
	}
	a := answer{Result: result}
	switch err := json.Unmarshal(text, &a); {
	case err != nil:
		return fmt.Errorf("%s is no admin address of a zproxy that takes this: it answers %s", address, res.Status)
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// clientOf asks an admin address, and takes at most limit for all of an answer.
func clientOf(address string, limit time.Duration) *http.Client {
	network, to := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, to = "unix", path
	}
	return &http.Client{Timeout: limit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, to)
		},
	}}
}
