package mixedload

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"

	gorilla "github.com/gorilla/websocket"
)

// Origin is what stands behind the proxy. It speaks HTTP/1 and HTTP/2 without TLS, echoes what it
// gets, and counts what it got before.
type Origin struct {
	server *http.Server

	mu       sync.Mutex
	seen     map[string]bool
	repeated int64
}

// NewOrigin has no address yet.
func NewOrigin() *Origin {
	o := &Origin{seen: map[string]bool{}}
	o.server = &http.Server{Handler: http.HandlerFunc(o.serve), Protocols: new(http.Protocols)}
	o.server.Protocols.SetHTTP1(true)
	o.server.Protocols.SetUnencryptedHTTP2(true)
	return o
}

// Listen gives it an address, or one more.
func (o *Origin) Listen() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go o.server.Serve(l)
	return l.Addr().String(), nil
}

// Repeated counts requests and messages that came again.
func (o *Origin) Repeated() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.repeated
}

// Close ends it with all connections.
func (o *Origin) Close() error { return o.server.Close() }

func (o *Origin) note(body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[string(body)] {
		o.repeated++
	}
	o.seen[string(body)] = true
}

func (o *Origin) serve(w http.ResponseWriter, q *http.Request) {
	switch q.URL.Path {
	case "/ws":
		o.echoMessages(w, q)
	case "/grpc":
		o.echoCall(w, q)
	default:
		b, err := io.ReadAll(q.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // half a request is none
		}
		o.note(b)
		w.Write(b)
	}
}

func (o *Origin) echoMessages(w http.ResponseWriter, q *http.Request) {
	ws, err := new(gorilla.Upgrader).Upgrade(w, q, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	for {
		kind, b, err := ws.ReadMessage()
		if err != nil {
			return
		}
		o.note(b)
		if ws.WriteMessage(kind, b) != nil {
			return
		}
	}
}

// echoCall is a stream of gRPC: the head at once, each message as it comes, and the trailers.
func (o *Origin) echoCall(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	flusher := http.NewResponseController(w)
	if flusher.Flush() != nil {
		return
	}
	for {
		prefix := make([]byte, 5)
		if _, err := io.ReadFull(q.Body, prefix); err == io.EOF {
			w.Header().Set("Grpc-Status", "0")
			return
		} else if err != nil {
			panic(http.ErrAbortHandler)
		}
		text := make([]byte, min(binary.BigEndian.Uint32(prefix[1:]), 1<<16))
		if _, err := io.ReadFull(q.Body, text); err != nil {
			panic(http.ErrAbortHandler)
		}
		o.note(text)
		w.Write(message(string(text)))
		if flusher.Flush() != nil {
			return
		}
	}
}
