package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// 512 requests are under way on one connection at once: the origin answers
// none until it has them all.
func TestH2ManyStreams(t *testing.T) {
	const streams = 512
	enoughFiles(t, streams)
	origins(t, func(t *testing.T, backend, protocol string) {
		var here sync.WaitGroup
		here.Add(streams)
		f := startFront(t, backend, site{origin: protocol, pool: "pool: {max_connections: 1024}", more: "http2: {upstream_streams: 200}",
			addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
				here.Done()
				here.Wait()
				io.WriteString(w, r.URL.Path)
			})})
		h := dialH2(t, f.addr)
		for i := range uint32(streams) {
			h.ask(2*i+1, true, "GET", fmt.Sprintf("/%d", i))
		}
		h.until("all answers", func() bool {
			for _, s := range h.streams {
				if !s.over() {
					return false
				}
			}
			return true
		})
		for i := range uint32(streams) {
			if s := h.streams[2*i+1]; string(s.body) != fmt.Sprintf("/%d", i) {
				t.Fatalf("%v", s)
			}
		}
	})
}

// Streams beyond the limit are refused, so that they can be asked again, and
// the others go on.
func TestH2TooManyStreams(t *testing.T) {
	onlyZproxy(t)
	eachBackend(t, func(t *testing.T, backend string) {
		release := make(chan bool)
		f := startFront(t, backend, site{origin: "http1", more: "http2: {max_streams: 10}", addr: startGo(t, "http1", func(w http.ResponseWriter, r *http.Request) {
			<-release
			io.WriteString(w, "done")
		})})
		h := dialH2(t, f.addr)
		for i := range uint32(12) {
			h.ask(2*i+1, true, "GET", "/")
		}
		last, before := h.streams[23], h.streams[21]
		h.until("the refusals", func() bool { return last.reset && before.reset })
		if h.settings[http2.SettingMaxConcurrentStreams] != 10 || last.code != http2.ErrCodeRefusedStream {
			t.Errorf("settings %v; %v", h.settings, last)
		}
		close(release)
		h.until("the answers", func() bool {
			n := 0
			for _, s := range h.streams {
				if string(s.body) == "done" && s.ended {
					n++
				}
			}
			return n == 10
		})
		if s := h.get(25, "/"); string(s.body) != "done" {
			t.Errorf("%v", s)
		}
	})
}

// A stream whose window is shut holds nobody else up: neither on the same
// connection, nor on the one to the origin that they share.
func TestH2StalledStream(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		f := startFront(t, backend, site{origin: protocol, addr: startGo(t, protocol, echoSums)})
		h := dialH2(t, f.addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
		h.stingy = true
		h.credit(0, 1<<30)
		stalled := h.ask(1, true, "GET", fmt.Sprintf("/%d", 50*mib))
		h.until("the window to be used up", func() bool { return len(stalled.body) == 1000 })
		for i := range uint32(50) {
			s := h.ask(2*i+3, true, "GET", "/2500")
			h.until("its window to be used up", func() bool { return len(s.body) == 1000 })
			h.credit(s.id, 1500)
			if h.until("its end", s.over); len(s.body) != 2500 {
				t.Fatalf("%v", s)
			}
		}
		other := dialH2(t, f.addr)
		if s := other.get(1, "/100000"); len(s.body) != 100_000 {
			t.Errorf("on another connection: %v", s)
		}
		if len(stalled.body) != 1000 {
			t.Errorf("%v", stalled)
		}
		// It was not forgotten either. SETTINGS open the windows of all.
		h.initial = 1 << 20
		stalled.window += 1<<20 - 1000
		h.write(func(fr *http2.Framer) error {
			return fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
		})
		h.until("more of it", func() bool { return len(stalled.body) == 1<<20 })
		h.rst(1, http2.ErrCodeCancel)
		if s := h.get(1001, "/1"); len(s.body) != 1 {
			t.Errorf("%v", s)
		}
	})
}

// An upload that the origin does not take holds no other up.
func TestH2StalledUpload(t *testing.T) {
	origins(t, func(t *testing.T, backend, protocol string) {
		release := make(chan bool)
		f := startFront(t, backend, site{origin: protocol, addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/stuck" {
				<-release
			}
			echoSums(w, r)
		})})
		client := goClient(t, "h2c")
		const n = 30 * mib
		stuck := make(chan string)
		go func() {
			req, _ := http.NewRequest("PUT", f.url("/stuck"), struct{ io.Reader }{stream(n)})
			res, err := client.Do(req)
			if err != nil {
				stuck <- err.Error()
				return
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			stuck <- string(b)
		}()
		time.Sleep(300 * time.Millisecond)
		want := sumOfStream(t, mib)
		for range 10 {
			upload(t, client, f, mib, want, true)
			download(t, client, f, mib, want, "")
		}
		close(release)
		if got, want := <-stuck, uploaded(n, sumOfStream(t, n), "", ""); got != want {
			t.Errorf("the upload that was stuck: %s, want %s", got, want)
		}
	})
}

// A response that its origin cuts short never ends as a whole one.
func TestH2CutResponses(t *testing.T) {
	eachFront(t, func(t *testing.T, backend string) {
		head := "HTTP/1.1 200 OK\r\n"
		for name, text := range map[string]string{
			"length":         head + "Content-Length: 100\r\n\r\nhello",
			"chunks":         head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
			"within a chunk": head + "Transfer-Encoding: chunked\r\n\r\n50\r\nhello",
			"no chunk":       head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzzz\r\n",
		} {
			t.Run("http1 "+name, func(t *testing.T) {
				f := startFront(t, backend, site{origin: "http1", addr: startOrigin(t, func(c *originConn) {
					if c.request() != nil {
						c.write(text)
						time.Sleep(moment)
					}
				}).addr})
				cutResponse(t, f)
			})
		}
		for name, cut := range map[string]func(h *h2conn, id uint32) bool{
			"reset":               func(h *h2conn, id uint32) bool { h.rst(id, http2.ErrCodeInternal); return true },
			"cancel":              func(h *h2conn, id uint32) bool { h.rst(id, http2.ErrCodeCancel); return true },
			"reset without error": func(h *h2conn, id uint32) bool { h.rst(id, http2.ErrCodeNo); return true },
			"connection closed":   func(h *h2conn, id uint32) bool { return false },
			"short":               func(h *h2conn, id uint32) bool { h.data(id, true, ""); return true },
			"goaway and closed": func(h *h2conn, id uint32) bool {
				h.write(func(fr *http2.Framer) error { return fr.WriteGoAway(id, http2.ErrCodeInternal, nil) })
				return false
			},
		} {
			t.Run("h2c "+name, func(t *testing.T) {
				f := startFront(t, backend, site{origin: "h2c", addr: startH2Origin(t, func(h *h2conn) {
					for h.step() == nil {
						for id, s := range h.streams {
							if !s.ended || len(s.head) == 0 {
								continue
							}
							s.head = s.head[:0]
							h.headers(id, false, ":status", "200", "content-length", "100")
							h.data(id, false, "hello")
							time.Sleep(moment)
							if !cut(h, id) {
								return
							}
						}
					}
				}).addr})
				cutResponse(t, f)
			})
		}
	})
}

func cutResponse(t *testing.T, f *front) {
	t.Helper()
	h := dialH2(t, f.addr)
	s := h.ask(1, true, "GET", "/x")
	if h.until("its end", s.over); s.ended || !s.reset {
		if !s.ended || s.status() != "502" {
			t.Errorf("a response that was cut: %v", s)
		}
	}
	if h.ended != nil || len(h.goaways) > 0 {
		t.Errorf("the connection ends with the stream: %v, %v", h.ended, h.goaways)
	}
}

// A request that its client cuts short never ends as a whole one.
func TestH2CutRequests(t *testing.T) {
	ends := map[string]func(h *h2conn){
		"reset":  func(h *h2conn) { h.rst(1, http2.ErrCodeCancel) },
		"closed": func(h *h2conn) { h.Close() },
		"goaway and closed": func(h *h2conn) {
			h.write(func(fr *http2.Framer) error { return fr.WriteGoAway(0, http2.ErrCodeNo, nil) })
			h.Close()
		},
		"malformed": func(h *h2conn) { h.headers(1, true, ":path", "/y") },
	}
	origins(t, func(t *testing.T, backend, protocol string) {
		for name, end := range ends {
			for _, fields := range [][]string{nil, {"content-length", "100"}} {
				t.Run(fmt.Sprint(name, fields), func(t *testing.T) {
					got, begun := make(chan string, 10), make(chan bool)
					f := startFront(t, backend, site{origin: protocol, addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
						var begin [5]byte
						io.ReadFull(r.Body, begin[:])
						close(begun)
						b, err := io.ReadAll(r.Body)
						got <- fmt.Sprintf("%s%s cut: %v", begin[:], b, err != nil)
					})})
					h := dialH2(t, f.addr)
					h.ask(1, false, "POST", "/x", fields...)
					h.data(1, false, "hello")
					<-begun
					end(h)
					select {
					case said := <-got:
						if said != "hello cut: true" {
							t.Errorf("the origin has read %s", said)
						}
					case <-time.After(patience):
						t.Error("the origin is left waiting")
					}
				})
			}
		}
		// More or less than was announced (RFC 9113 8.1.1).
		for _, body := range []string{"hell", "hello!"} {
			t.Run("of another length: "+body, func(t *testing.T) {
				got := make(chan string, 10)
				f := startFront(t, backend, site{origin: protocol, addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					b, err := io.ReadAll(r.Body)
					if err == nil {
						got <- string(b)
					}
				})})
				h := dialH2(t, f.addr)
				s := h.ask(1, false, "POST", "/x", "content-length", "5")
				h.data(1, true, body)
				if err := h.within(patience, s.over); err == nil && s.ended && s.status() == "200" {
					t.Errorf("%v", s)
				}
				time.Sleep(moment)
				if len(got) > 0 {
					t.Errorf("the origin has read %q as a whole", <-got)
				}
			})
		}
	})
}

// SIGTERM: the client is told twice, streams finish, new ones are refused, and
// the process ends.
func TestH2Drain(t *testing.T) {
	onlyZproxy(t)
	besides(t, func(t *testing.T, backend string) {
		for _, protocol := range []string{"http1", "h2c"} {
			t.Run("to "+protocol, func(t *testing.T) {
				release := make(chan bool)
				f := startFront(t, backend, site{origin: protocol, more: "shutdown: {grace: 5m}", addr: startGo(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					io.WriteString(w, "first")
					w.(http.Flusher).Flush()
					<-release
					io.WriteString(w, "-last")
				})})
				h, idle := dialH2(t, f.addr), dialH2(t, f.addr)
				idle.until("SETTINGS", func() bool { return len(idle.settings) > 0 })
				slow := h.ask(1, true, "GET", "/")
				h.until("its beginning", func() bool { return string(slow.body) == "first" })
				begin := time.Now()
				f.p.signal(t, syscall.SIGTERM)
				h.until("the first GOAWAY", func() bool { return len(h.goaways) > 0 })
				if g := h.goaways[0]; g.last != 1<<31-1 || g.code != http2.ErrCodeNo {
					t.Errorf("the first GOAWAY: %+v", g)
				}
				h.until("the second GOAWAY", func() bool { return len(h.goaways) > 1 })
				if g := h.goaways[1]; g.last != 1 || g.code != http2.ErrCodeNo {
					t.Errorf("the second GOAWAY: %+v", g)
				}
				if err := idle.drain(patience); idle.ended != io.EOF || len(idle.goaways) == 0 {
					t.Errorf("an idle connection: %v, goaways %v", err, idle.goaways)
				}
				late := h.ask(3, true, "GET", "/")
				close(release)
				if h.until("its end", slow.over); string(slow.body) != "first-last" || slow.reset {
					t.Errorf("%v", slow)
				}
				if err := h.drain(patience); h.ended == nil || late.head != nil {
					t.Errorf("behind the last stream: %v; %v", err, late)
				}
				if status := f.p.wait(t, stopLimit); status != 0 || time.Since(begin) > 8*time.Second { // its grace goes on
					t.Errorf("exit status %d after %v", status, time.Since(begin))
				}
			})
		}
	})
}

// A connection without a stream is closed after its time, with a GOAWAY; one
// that has been opened and says nothing, too.
func TestH2IdleConnections(t *testing.T) {
	onlyZproxy(t)
	besides(t, func(t *testing.T, backend string) {
		f := startFront(t, backend, site{listen: "http1, h2c", origin: "http1", addr: startGo(t, "http1", echoSums),
			more: "http2: {idle_timeout: 2s}\nlimits: {request_header_timeout: 3s}"})
		begin := time.Now()
		h := dialH2(t, f.addr)
		h.get(1, "/5")
		begun := []string{"", "PRI * HTTP", strings.TrimSuffix(http2.ClientPreface, "\n")}
		var silent []*client
		for _, text := range begun {
			c := dial(t, f.addr)
			c.write(text)
			silent = append(silent, c)
		}
		h.drain(patience)
		if took := time.Since(begin); h.ended != io.EOF || len(h.goaways) == 0 || h.goaways[0].code != http2.ErrCodeNo || took < 1900*time.Millisecond {
			t.Errorf("an idle connection ends after %v: %v, goaways %v", took, h.ended, h.goaways)
		}
		for i, c := range silent {
			if _, err := io.Copy(io.Discard, c.br); err != nil {
				t.Errorf("a connection that stops at %q: %v", begun[i], err)
			}
		}
	})
}
