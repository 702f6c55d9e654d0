package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxAnswer bounds what is read of a response.
const maxAnswer = 64 << 20

// Ask has the process at an admin address change its configuration, and gives what its
// Source.Change gave to result. The error is that process's own, or says that there is none.
func Ask(to Target, c Change, result any) error {
	client := clientOf(to, changeLimit)
	method, path, query := http.MethodPost, reloadPath, url.Values{}
	if c.Text != nil {
		method, path = http.MethodPut, configPath
		query.Set(nameQuery, c.Name)
	}
	if c.Dry {
		query.Set(dryQuery, "")
	}
	req, err := http.NewRequest(method, to.base()+path+"?"+query.Encode(), bytes.NewReader(c.Text))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no zproxy answers at %s: %w", to.Address, errors.Unwrap(err))
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the answer of %s breaks off: %w", to.Address, err)
	}
	if res.StatusCode == http.StatusUnauthorized {
		return to.refused(res.StatusCode, text)
	}
	a := answer{Result: result}
	switch err := json.Unmarshal(text, &a); {
	case err != nil:
		return fmt.Errorf("%s is no admin address of a zproxy that takes this: it answers %s", to.Address, res.Status)
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}
