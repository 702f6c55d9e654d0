package admin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stateLimit is how long /status may take: it waits for loops.
const stateLimit = 5 * time.Second

// State reads /status of the process at an admin address into what.
func State(to Target, what any) error {
	client := clientOf(to, stateLimit)
	res, err := client.Get(to.base() + "/status")
	if err != nil {
		return fmt.Errorf("no zproxy answers at %s: %w", to.Address, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode == http.StatusUnauthorized {
		return to.refused(res.StatusCode, text)
	}
	if err == nil && res.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, what)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is no admin address of a zproxy: it answers %s", to.Address, res.Status)
	}
	return nil
}
