package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"
)

// tab is a page of Chromium, which is steered by its DevTools protocol.
type tab struct {
	t       *testing.T
	ws      *gorilla.Conn
	id      int
	console []string // errors and warnings so far
}

// openTab starts Chromium with an empty page.
func openTab(t *testing.T) *tab {
	t.Helper()
	need(t, "chromium")
	home := t.TempDir()
	profile := filepath.Join(home, "profile")
	ctx, cancel := context.WithCancel(context.Background())
	browser := exec.CommandContext(ctx, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--remote-debugging-port=0", "--remote-allow-origins=*", "--user-data-dir="+profile, "about:blank")
	browser.Env = append(os.Environ(), "HOME="+home)
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = browser.Wait()
	})
	b := &tab{t: t}
	eventually(t, 3*patience, "Chromium can be steered", func() (bool, string) {
		port, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		if err != nil {
			return false, err.Error()
		}
		number, _, _ := strings.Cut(string(port), "\n")
		res, err := http.Get("http://127.0.0.1:" + number + "/json/list")
		if err != nil {
			return false, err.Error()
		}
		defer res.Body.Close()
		var pages []struct {
			Type string
			URL  string `json:"webSocketDebuggerUrl"`
		}
		if err := json.NewDecoder(res.Body).Decode(&pages); err != nil {
			return false, err.Error()
		}
		for _, p := range pages {
			if p.Type == "page" {
				b.ws, _, err = gorilla.DefaultDialer.Dial(p.URL, nil)
				return err == nil, fmt.Sprint(err)
			}
		}
		return false, "no page"
	})
	t.Cleanup(func() { b.ws.Close() })
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil)
	}
	return b
}

// call does a method, and gives what it answers. What the console says meanwhile is kept.
func (b *tab) call(method string, params any) (result map[string]any) {
	b.t.Helper()
	b.id++
	_ = b.ws.SetReadDeadline(time.Now().Add(3 * patience))
	if err := b.ws.WriteJSON(map[string]any{"id": b.id, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	for {
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			Result map[string]any
			Error  any
		}
		if err := b.ws.ReadJSON(&m); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		switch {
		case m.ID == b.id && m.Error != nil:
			b.t.Fatalf("%s: %v", method, m.Error)
		case m.ID == b.id:
			return m.Result
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded",
			m.Method == "Runtime.consoleAPICalled" && !strings.Contains(string(m.Params), `"type":"log"`):
			b.console = append(b.console, string(m.Params))
		}
	}
}

// eval is the value of an expression, as text.
func (b *tab) eval(expression string) string {
	b.t.Helper()
	r, _ := b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true})["result"].(map[string]any)
	return fmt.Sprint(r["value"])
}

// look is the window's size, and the colours that are preferred.
func (b *tab) look(width, height int, colours string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": colours}}})
}

// picture writes what is seen to a file.
func (b *tab) picture(file string) {
	b.t.Helper()
	data, _ := b.call("Page.captureScreenshot", map[string]any{"format": "png"})["data"].(string)
	png, err := base64.StdEncoding.DecodeString(data)
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}
