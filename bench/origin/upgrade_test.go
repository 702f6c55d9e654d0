package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A real HTTP/2 client gets every answer whole, small and larger than a frame and than the windows it opens.
func TestHTTP2(t *testing.T) {
	for _, size := range []int{0, testSize, maxFrameBytes, maxFrameBytes + 1, 5 << 20} {
		_, addr := start(t, "127.0.0.1:0", size)
		transport := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 100_000}}
		transport.Protocols.SetUnencryptedHTTP2(true)
		defer transport.CloseIdleConnections()
		client := http.Client{Transport: transport, Timeout: 20 * time.Second}
		ask := func(upload int) error {
			r, err := client.Post("http://"+addr+"/bytes/7", "text/plain", bytes.NewReader(make([]byte, upload)))
			if err != nil {
				return err
			}
			defer r.Body.Close()
			b, err := io.ReadAll(r.Body)
			if err != nil || r.Proto != "HTTP/2.0" || r.StatusCode != 200 || r.Header.Get("Server") != "origin" ||
				r.ContentLength != int64(size) || string(b) != strings.Repeat("x", size) {
				return fmt.Errorf("%s %s %v with %d bytes of %d: %v", r.Proto, r.Status, r.Header, len(b), r.ContentLength, err)
			}
			return nil
		}
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				if err := ask(i % 3 * 60_000); err != nil {
					t.Errorf("size %d: %v", size, err)
				}
			})
		}
		wg.Wait()
	}
}

// A body waits for the windows and is not lost, whichever of the two is the smaller.
func TestHTTP2Windows(t *testing.T) {
	network, addr := start(t, "127.0.0.1:0", testSize)
	c := connect(t, network, addr)
	frame := func(kind, flags byte, stream uint32, payload string) string {
		return string(appendFrame(nil, kind, flags, stream, len(payload))) + payload
	}
	c.send(preface + frame(frameSettings, 0, 0, "\x00\x04\x00\x00\x00\x0a") + // windows of 10 bytes
		frame(frameHeaders, flagEndStream, 1, "\x82") + frame(frameContinuation, flagEndHeaders, 1, "\x86\x84"))
	body := 0
	read := func() (kind, flags byte) {
		head := make([]byte, frameHeadBytes)
		if _, err := io.ReadFull(c.in, head); err != nil {
			t.Fatalf("after %d bytes of the body: %v", body, err)
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		if _, err := io.CopyN(io.Discard, c.in, int64(n)); err != nil {
			t.Fatal(err)
		}
		if head[3] == frameData {
			if body += n; binary.BigEndian.Uint32(head[5:]) != 1 {
				t.Fatalf("DATA of stream %d", head[8])
			}
		}
		return head[3], head[4]
	}
	for body < 10 {
		if kind, flags := read(); kind == frameData && flags&flagEndStream != 0 {
			t.Fatal("the body ended")
		}
	}
	c.send(frame(framePing, 0, 0, "12345678"))
	for {
		if kind, flags := read(); kind == framePing && flags == flagAck {
			break
		}
	}
	if body != 10 {
		t.Fatalf("%d bytes through a window of 10", body)
	}
	c.send(frame(frameWindowUpdate, 0, 1, "\x00\x00\x00\x50") + frame(frameSettings, 0, 0, "\x00\x04\x00\x00\x00\x14"))
	for ended := false; !ended; {
		kind, flags := read()
		ended = kind == frameData && flags&flagEndStream != 0
	}
	if body != testSize {
		t.Errorf("%d bytes, want %d", body, testSize)
	}
}

func TestWebSocket(t *testing.T) {
	network, addr := start(t, "127.0.0.1:0", testSize)
	c := connect(t, network, addr)
	// The key and the answer to it are those of RFC 6455 section 1.3.
	c.send("GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r, err := http.ReadResponse(c.in, nil)
	if err != nil || r.StatusCode != 101 || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("%v, %v", r, err)
	}
	masked := func(first byte, payload string) string {
		head := []byte{first, maskBit}
		switch n := len(payload); {
		case n <= 125:
			head[1] |= byte(n)
		case n < 1<<16:
			head = binary.BigEndian.AppendUint16([]byte{first, maskBit | 126}, uint16(n))
		default:
			head = binary.BigEndian.AppendUint64([]byte{first, maskBit | 127}, uint64(n))
		}
		head = append(head, 1, 2, 3, 4)
		for i := range len(payload) {
			head = append(head, payload[i]^byte(i&3+1))
		}
		return string(head)
	}
	expect := func(first byte, payload string) {
		t.Helper()
		want := append([]byte{first}, byte(len(payload)))
		switch n := len(payload); {
		case n >= 1<<16:
			want = binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))
		case n > 125:
			want = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))
		}
		want = append(want, payload...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c.in, got); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %.20x, %v; want %.20x", got, err, want)
		}
	}
	sizes := []int{0, 1, 64, 125, 126, 65535, 65536, 300_000}
	all := ""
	for _, n := range sizes {
		m := masked(0x82, strings.Repeat("m", n))
		c.send(m)
		expect(0x82, strings.Repeat("m", n))
		all += m
	}
	c.send(masked(0x89, "p"))
	expect(0x8a, "p")
	c.send(masked(0x8a, "unasked") + all + masked(0x88, "\x03\xe8"))
	for _, n := range sizes {
		expect(0x82, strings.Repeat("m", n))
	}
	expect(0x88, "\x03\xe8")
	if _, err := c.in.ReadByte(); err != io.EOF {
		t.Errorf("after the close frame: %v, want the end", err)
	}
}
