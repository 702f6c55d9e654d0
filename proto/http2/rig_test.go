package http2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	xnet "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"zproxy/proto"
)

// rig is a session and a peer that writes whatever frames a test wants, with
// somebody else's framer and encoder.
type rig struct {
	t       testing.TB
	cfg     Config
	streams *Streams
	scratch *Scratch
	s       *Session
	now     int64

	in  bytes.Buffer // not fed yet
	fr  *xnet.Framer // writes into in
	enc *hpack.Encoder
	blk bytes.Buffer
	out []byte // what the session made
	cut int    // feed at most so many bytes at a time; 0: all
	own bool   // the rig does not give bytes back by itself
	end string // the event that ended the connection
}

const startNs = 1e9

func newRig(t testing.TB, role Role, change func(*Config)) *rig {
	r := bareRig(t, change)
	r.begin(role)
	return r
}

func bareRig(t testing.TB, change func(*Config)) *rig {
	r := &rig{t: t, cfg: DefaultConfig(), streams: new(Streams), scratch: new(Scratch), s: new(Session), now: startNs}
	if change != nil {
		change(&r.cfg)
	}
	return r
}

func (r *rig) begin(role Role) {
	r.s.Start(role, &r.cfg, r.streams, r.scratch, r.now)
	r.fr = xnet.NewFramer(&r.in, nil)
	r.fr.AllowIllegalWrites = true
	r.enc = hpack.NewEncoder(&r.blk)
}

// server is a rig behind the handshake.
func server(t testing.TB, change func(*Config)) *rig {
	r := newRig(t, Server, change)
	r.in.WriteString(Preface)
	r.fr.WriteSettings()
	r.fr.WriteSettingsAck()
	r.want("settings")
	r.sends("SETTINGS", "WINDOW", "SETTINGS ACK")
	return r
}

func client(t testing.TB, change func(*Config)) *rig {
	r := newRig(t, Client, change)
	r.fr.WriteSettings()
	r.fr.WriteSettingsAck()
	r.want("settings")
	if !bytes.HasPrefix(r.out, []byte(Preface)) {
		t.Fatalf("a client begins with %q", r.out)
	}
	r.out = r.out[PrefaceLen:]
	r.sends("SETTINGS", "WINDOW", "SETTINGS ACK")
	return r
}

func (r *rig) block(fields ...string) []byte {
	r.blk.Reset()
	for i := 0; i < len(fields); i += 2 {
		r.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(r.blk.Bytes())
}

func (r *rig) headers(id uint32, end bool, fields ...string) {
	r.fr.WriteHeaders(xnet.HeadersFrameParam{StreamID: id, BlockFragment: r.block(fields...), EndStream: end, EndHeaders: true})
}

var getFields = []string{":method", "GET", ":scheme", "https", ":authority", "a.example", ":path", "/"}

func (r *rig) get(id uint32) { r.headers(id, true, getFields...) }

func (r *rig) post(id uint32, more ...string) {
	r.headers(id, false, append([]string{":method", "POST", ":scheme", "https", ":authority", "a.example", ":path", "/"}, more...)...)
}

// raw writes a frame that no framer would.
func (r *rig) raw(length int, kind, bits uint8, id uint32, payload string) {
	r.in.Write(appendFrameHeader(nil, length, kind, bits, id))
	r.in.WriteString(payload)
}

// feed gives the session what was written, and tells the events.
func (r *rig) feed() (events []string) {
	b := bytes.Clone(r.in.Bytes())
	r.in.Reset()
	for {
		n := len(b)
		if r.cut > 0 {
			n = min(n, r.cut)
		}
		piece := b[:n]
		for {
			var ev Event
			used := r.s.Next(piece, r.now, &ev)
			if ev.Kind == EventNone && used != len(piece) {
				r.t.Fatalf("Next used %d of %d bytes and tells nothing", used, len(piece))
			}
			if ev.Kind != EventNone {
				events = append(events, r.tell(piece, &ev))
			}
			r.take()
			if ev.Kind == EventClosed {
				r.end = events[len(events)-1]
				return events
			}
			piece = piece[used:]
			if ev.Kind == EventNone {
				break
			}
		}
		if b = b[n:]; len(b) == 0 {
			return events
		}
	}
}

// take moves what the session wants to send to out.
func (r *rig) take() {
	r.out = append(r.out, r.s.Output()...)
	r.s.Flushed()
}

func (r *rig) tell(b []byte, ev *Event) string {
	w := &strings.Builder{}
	switch ev.Kind {
	case EventHead:
		h := r.s.Head()
		fmt.Fprintf(w, "head %d %s", ev.ID, tellHead(h))
		if ev.Fault != nil {
			fmt.Fprintf(w, " FAULT %v", ev.Fault)
		}
	case EventTrailers:
		fmt.Fprintf(w, "trailers %d%s", ev.ID, tellFields(r.s.Head()))
	case EventData:
		fmt.Fprintf(w, "data %d %q", ev.ID, b[ev.Off:ev.Off+ev.N])
		if !r.own {
			stream := ev.Stream
			if ev.Freed {
				stream = 0
			}
			r.s.Consumed(stream, ev.N)
		}
	case EventReset:
		fmt.Fprintf(w, "reset %d %v", ev.ID, ev.Code)
		if !ev.Freed {
			r.t.Error("a reset stream is not freed")
		}
		if ev.Local {
			fmt.Fprintf(w, " local: %v", ev.Fault)
		}
		if ev.Unprocessed {
			w.WriteString(" unprocessed")
		}
	case EventGoAway:
		fmt.Fprintf(w, "goaway %d %v", ev.ID, ev.Code)
	case EventClosed:
		fmt.Fprintf(w, "closed %v: %v", ev.Code, ev.Fault)
	case EventSettings:
		w.WriteString("settings")
	}
	if ev.End {
		w.WriteString(" END")
	}
	if ev.Freed && ev.Kind != EventReset {
		w.WriteString(" FREED")
	}
	return w.String()
}

func tellHead(h *proto.Head) string {
	w := &strings.Builder{}
	if h.Status != 0 {
		fmt.Fprint(w, h.Status)
	} else {
		fmt.Fprintf(w, "%s %s %s %s", h.Bytes(h.MethodName), h.Bytes(h.Scheme), h.Bytes(h.Host), h.Bytes(h.Target))
	}
	if h.Protocol.Len > 0 {
		fmt.Fprintf(w, " protocol=%s", h.Bytes(h.Protocol))
	}
	if h.Body != proto.BodyNone {
		fmt.Fprintf(w, " %v", h.Body)
	}
	if h.Body == proto.BodyLength {
		fmt.Fprintf(w, "=%d", h.Length)
	}
	return w.String() + tellFields(h)
}

func tellFields(h *proto.Head) string {
	w := &strings.Builder{}
	for i := range h.Fields {
		f := &h.Fields[i]
		fmt.Fprintf(w, " [%s: %s]", h.Bytes(f.Name), h.Bytes(f.Value))
		if f.Flags&proto.FlagDrop != 0 {
			w.WriteString("-")
		}
	}
	return w.String()
}

// want feeds and compares the events.
func (r *rig) want(events ...string) {
	r.t.Helper()
	got := r.feed()
	if strings.Join(got, "\n") != strings.Join(events, "\n") {
		r.t.Fatalf("events:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(events, "\n\t"))
	}
}

// sent tells the frames the session made since the last time.
func (r *rig) sent() (frames []string) {
	r.take()
	fr := xnet.NewFramer(nil, bytes.NewReader(r.out))
	fr.SetMaxReadFrameSize(1 << 20)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			break
		}
		frames = append(frames, tellFrame(f))
	}
	r.out = nil
	return frames
}

func tellFrame(f xnet.Frame) string {
	h := f.Header()
	end := ""
	switch f := f.(type) {
	case *xnet.SettingsFrame:
		if f.IsAck() {
			return "SETTINGS ACK"
		}
		return "SETTINGS"
	case *xnet.WindowUpdateFrame:
		return fmt.Sprintf("WINDOW %d +%d", h.StreamID, f.Increment)
	case *xnet.RSTStreamFrame:
		return fmt.Sprintf("RST %d %v", h.StreamID, f.ErrCode)
	case *xnet.GoAwayFrame:
		return fmt.Sprintf("GOAWAY %d %v", f.LastStreamID, f.ErrCode)
	case *xnet.PingFrame:
		return fmt.Sprintf("PING ack=%v", f.IsAck())
	case *xnet.DataFrame:
		if f.StreamEnded() {
			end = " END"
		}
		return fmt.Sprintf("DATA %d %d%s", h.StreamID, len(f.Data()), end)
	case *xnet.HeadersFrame:
		if f.StreamEnded() {
			end = " END"
		}
		return fmt.Sprintf("HEADERS %d%s", h.StreamID, end)
	}
	return fmt.Sprint(h)
}

// sends compares the frames the session made with what each must begin with.
func (r *rig) sends(frames ...string) {
	r.t.Helper()
	got := r.sent()
	ok := len(got) == len(frames)
	for i := range min(len(got), len(frames)) {
		ok = ok && strings.HasPrefix(got[i], frames[i])
	}
	if !ok {
		r.t.Fatalf("sent:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(frames, "\n\t"))
	}
}

// respond answers a request with a head.
func (r *rig) respond(id uint32, status int, end bool) {
	stream := r.s.Find(id)
	if stream == 0 {
		r.t.Fatalf("stream %d is not open", id)
	}
	r.take()
	r.out = r.s.AppendHead(r.out, stream, AppendStatus(nil, status), end)
}

// request opens a stream at an origin.
func (r *rig) request(user uint32, method string, end bool) (stream uint32) {
	stream, ok := r.s.Open(user)
	if !ok {
		r.t.Fatal("no stream could be opened")
	}
	r.take()
	line := RequestLine{Method: []byte(method), Scheme: []byte("http"), Authority: []byte("o.example:80"), Path: []byte("/")}
	if method == "CONNECT" {
		line.Scheme, line.Path = nil, nil
	}
	r.out = r.s.AppendHead(r.out, stream, AppendRequestBlock(nil, new(proto.Head), &line, -1, nil), end)
	return stream
}

// empty checks that nothing is left at the end.
func (r *rig) empty() {
	r.t.Helper()
	r.s.Release()
	if n := r.streams.Len(); n != 0 {
		r.t.Errorf("%d streams are left", n)
	}
	if r.s.Held() != 0 || r.s.Active() != 0 || r.s.First() != 0 {
		r.t.Errorf("held %d, active %d, first %d after Release", r.s.Held(), r.s.Active(), r.s.First())
	}
}
