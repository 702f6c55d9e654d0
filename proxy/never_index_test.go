package proxy

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/loop"
	"zproxy/proto/http2"
)

// sensitive is one end of an HTTP/2 connection that writes fields which begin with "!"
// as literals that are never indexed, and tells so of those that come.
type sensitive struct {
	fr    *xnet.Framer
	enc   *hpack.Encoder
	block bytes.Buffer
}

func newSensitive(c net.Conn) *sensitive {
	s := &sensitive{fr: xnet.NewFramer(c, c)}
	s.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.enc = hpack.NewEncoder(&s.block)
	s.fr.WriteSettings()
	return s
}

func (s *sensitive) headers(id uint32, end bool, fields string) {
	s.block.Reset()
	for f := range strings.Lines(fields) {
		name, never := strings.CutPrefix(strings.TrimSuffix(f, "\n"), "!")
		name, value, _ := strings.Cut(name, " ")
		s.enc.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: never})
	}
	s.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id, BlockFragment: s.block.Bytes(), EndHeaders: true, EndStream: end})
}

// next is the next field section, without what proxies add.
func (s *sensitive) next() (id uint32, fields string, err error) {
	for {
		f, err := s.fr.ReadFrame()
		if err != nil {
			return 0, "", err
		}
		switch f := f.(type) {
		case *xnet.SettingsFrame:
			if !f.IsAck() {
				s.fr.WriteSettingsAck()
			}
		case *xnet.MetaHeadersFrame:
			for _, field := range f.Fields {
				if slices.Contains([]string{"date", "via", "x-forwarded-proto", "x-forwarded-host"}, field.Name) {
					continue
				}
				never := ""
				if field.Sensitive {
					never = "!"
				}
				fields += fmt.Sprintf("%s%s %s\n", never, field.Name, field.Value)
			}
			return f.StreamID, fields, nil
		}
	}
}

// What comes as a literal that is never indexed goes on as one (RFC 7541 6.2.3), in
// requests, answers and trailers, also where a block comes again and again.
func TestNeverIndexedFieldsStaySo(t *testing.T) {
	const (
		request = ":method POST\n:scheme http\n!:authority h\n!:path /secret\nuser-agent u\n!accept-encoding gzip, deflate\n!x-token t\nx-plain p\n"
		trailer = "!x-sum 1\nx-end 2\n"
		interim = "!:status 103\n!link </a>\n"
		answer  = ":status 200\n!etag e\nserver s\n!x-answer a\n"
	)
	besides(t, func(t *testing.T, backend loop.IO) {
		heard := make(chan string, 100)
		origin := startOrigin(t, func(_ int, c net.Conn) {
			readN(c, http2.PrefaceLen)
			s := newSensitive(c)
			for {
				id, fields, err := s.next()
				if err != nil {
					return
				}
				if heard <- fields; strings.HasPrefix(fields, ":method") {
					continue
				}
				s.headers(id, false, interim)
				s.headers(id, false, answer)
				s.fr.WriteData(id, false, []byte("x"))
				s.headers(id, true, trailer)
			}
		})
		r := start(t, backend, 1, fmt.Sprintf("listeners: [{address: \"127.0.0.1:8080\", protocols: [h2c]}]\n"+
			"upstreams: {app: {protocol: h2c, endpoints: [{address: %q}], pool: {prewarm: 0}}}\nroutes: [{path: \"/*\", upstream: app}]\n"+
			"forwarding: {x_forwarded: true}\n", origin), nil)
		c := r.dial()
		if _, err := c.Write([]byte(http2.Preface)); err != nil {
			t.Fatal(err)
		}
		s := newSensitive(c)
		want := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
			}
		}
		hears := func() string {
			select {
			case fields := <-heard:
				return fields
			case <-time.After(patience):
				return "nothing"
			}
		}
		for n := range uint32(4) {
			s.headers(2*n+1, false, request+"!x-forwarded-for 192.0.2.9\n")
			s.headers(2*n+1, true, trailer)
			want("request", hears(), request+"!x-forwarded-for 127.0.0.1\n")
			want("its trailers", hears(), trailer)
			for _, section := range []string{interim, answer, trailer} {
				_, got, err := s.next()
				if err != nil {
					t.Fatal(err)
				}
				want("answer", got, section)
			}
		}
	})
}
