package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A client that sends the whole of a long upload before it reads gets the answer
// that refused it at its head.
func TestRefusedUploadIsAnswered(t *testing.T) {
	const size = 10 << 20
	body := strings.Repeat("x", size)
	besides(t, func(t *testing.T, backend string) {
		z := start(t, backend, `
listeners: [{address: LISTEN}]
routes: [{path: "/*", respond: {status: 200}}]
limits: {body_bytes: 1000}
`)
		for range 5 {
			c := dial(t, z.addr)
			c.write(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", size) + body)
			if res, _ := c.response("PUT"); res.StatusCode != 413 {
				t.Errorf("the answer is %s", res.Status)
			}
			c.Close()
		}
	})
}
