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

// State reads /status of the process with this admin address into what.
func State(address string, what any) error {
	client := clientOf(address, stateLimit)
	res, err := client.Get("http://zproxy/status")
	if err != nil {
		return fmt.Errorf("no zproxy answers at %s: %w", address, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode == http.StatusOK {
		err = json.Unmarshal(text, what)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is no admin address of a zproxy: it answers %s", address, res.Status)
	}
	return nil
}
