package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"zproxy/internal/longtest"
)

// Scripts get the port and the file of an authority, and end with status 0 if all was as it
// should be. At /echo is what sends back what it gets, as a WebSocket too.

// pythonClient speaks HTTP/1.1 by http.client, and resumes sessions by ssl.
const pythonClient = `
import http.client, socket, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
big = bytes(range(256)) * 4096
for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    c = http.client.HTTPSConnection("localhost", port, context=context, timeout=20)
    for body in b"", b"x", big, b"y":
        c.request("POST", "/echo", body, {"X": "y"})
        r = c.getresponse()
        got = r.read()
        assert (r.status, got) == (200, body), (version, r.status, len(got))
    c.request("POST", "/echo", iter([b"a", big, b"b"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert c.getresponse().read() == b"a" + big + b"b", version
    session = None
    for _ in range(3):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="localhost", session=session) as s:
            assert s.session_reused == (session is not None), (version, s.session_reused)
            s.sendall(b"GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            got = b""
            while True: # an end without close_notify is an error here
                b = s.recv(65536)
                if not b: break
                got += b
            assert got.startswith(b"HTTP/1.1 200 "), got
            session = s.session
`

// pythonH2Client speaks HTTP/2 by h2.
const pythonH2Client = `
import h2.config, h2.connection, h2.events, socket, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
context.set_alpn_protocols(["h2", "http/1.1"])
s = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="localhost")
assert s.selected_alpn_protocol() == "h2"
c = h2.connection.H2Connection(h2.config.H2Configuration())
c.initiate_connection()
bodies, sent, got, status = {}, {}, {}, {}
for i in range(20):
    n = c.get_next_available_stream_id()
    bodies[n], sent[n], got[n] = bytes([i]) * (i * 10_000), 0, b""
    c.send_headers(n, [(":method", "POST"), (":scheme", "https"), (":authority", "localhost:%d" % port), (":path", "/echo"), ("content-length", str(len(bodies[n])))])
open = set(bodies)
while open:
    for n, body in bodies.items():
        while n in sent:
            room = min(c.local_flow_control_window(n), c.max_outbound_frame_size, len(body) - sent[n])
            if room <= 0 and sent[n] < len(body): break
            c.send_data(n, body[sent[n]:sent[n] + room], end_stream=sent[n] + room == len(body))
            sent[n] += room
            if sent[n] == len(body): del sent[n]
    s.sendall(c.data_to_send())
    data = s.recv(65536)
    assert data, "the connection ends"
    for e in c.receive_data(data):
        if isinstance(e, h2.events.ResponseReceived): status[e.stream_id] = dict(e.headers)[b":status"]
        elif isinstance(e, h2.events.DataReceived):
            got[e.stream_id] += e.data
            c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamEnded): open.remove(e.stream_id)
        elif isinstance(e, (h2.events.StreamReset, h2.events.ConnectionTerminated)): raise Exception(e)
for n, body in bodies.items():
    assert (status[n], got[n]) == (b"200", body), (n, status[n], len(got[n]))
c.close_connection()
s.sendall(c.data_to_send())
s.unwrap() # waits for close_notify
`

// nodeClient speaks HTTP/1.1 by https, which resumes sessions, and HTTP/2 by http2.
const nodeClient = `
const assert = require("assert"), fs = require("fs"), http2 = require("http2"), https = require("https");
const port = Number(process.argv[2]), ca = fs.readFileSync(process.argv[3]);
const big = Buffer.alloc(1 << 20, "0123456789abcdef");
const ask = (agent, body) => new Promise((ok, failed) => {
  const r = https.request({host: "localhost", port, path: "/echo", method: "POST", agent, headers: {"Content-Length": body.length}}, res => {
    const parts = [], reused = res.socket.isSessionReused();
    res.on("data", d => parts.push(d)).on("error", failed);
    res.on("end", () => { assert.strictEqual(res.statusCode, 200); assert(Buffer.concat(parts).equals(body)); ok(reused); });
  });
  r.on("error", failed).end(body);
});
const stream = (session, body) => new Promise((ok, failed) => {
  const r = session.request({":method": "POST", ":path": "/echo"}), parts = [];
  let status;
  r.on("response", h => status = h[":status"]).on("data", d => parts.push(d)).on("error", failed);
  r.on("end", () => { assert.strictEqual(status, 200); assert(Buffer.concat(parts).equals(body)); ok(); });
  r.end(body);
});
(async () => {
  for (const version of ["TLSv1.2", "TLSv1.3"]) {
    const options = {ca, minVersion: version, maxVersion: version};
    const kept = new https.Agent({...options, keepAlive: true, maxSockets: 4});
    await Promise.all([...Array(20).keys()].map(i => ask(kept, big.subarray(0, i * 50000))));
    kept.destroy();
    const fresh = new https.Agent({...options, keepAlive: false, maxCachedSessions: 10});
    assert.deepStrictEqual([await ask(fresh, big), await ask(fresh, big), await ask(fresh, big)], [false, true, true], version);
    const session = http2.connect("https://localhost:" + port, options);
    await Promise.all([...Array(30).keys()].map(i => stream(session, big.subarray(0, i * 20000))));
    await new Promise(ok => session.ping(ok));
    await new Promise(ok => session.close(ok));
  }
  process.exit(0);
})().catch(e => { console.error(e); process.exit(1); });
`

// javaClient speaks HTTP/1.1, HTTP/2 and WebSocket by java.net.http.
const javaClient = `
import java.io.*;
import java.net.*;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.*;
import java.security.cert.CertificateFactory;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;

class Client {
	static void check(boolean ok, String what) { if (!ok) throw new AssertionError(what); }

	public static void main(String[] args) throws Exception {
		var store = KeyStore.getInstance(KeyStore.getDefaultType());
		store.load(null, null);
		try (var in = new FileInputStream(args[1])) {
			store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
		}
		var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		trust.init(store);
		var big = new byte[1 << 20];
		new Random(1).nextBytes(big);
		for (var protocol : List.of("TLSv1.2", "TLSv1.3")) {
			var context = SSLContext.getInstance("TLS");
			context.init(null, trust.getTrustManagers(), null);
			var parameters = new SSLParameters();
			parameters.setProtocols(new String[]{protocol});
			for (var version : List.of(HttpClient.Version.HTTP_1_1, HttpClient.Version.HTTP_2)) {
				for (int round = 0; round < 2; round++) { // the second resumes
					var client = HttpClient.newBuilder().version(version).sslContext(context).sslParameters(parameters).build();
					var answers = new ArrayList<CompletableFuture<HttpResponse<byte[]>>>();
					for (int i = 0; i < 20; i++) {
						var request = HttpRequest.newBuilder(URI.create("https://localhost:" + args[0] + "/echo"))
							.POST(BodyPublishers.ofByteArray(big, 0, i * 50_000)).build();
						answers.add(client.sendAsync(request, BodyHandlers.ofByteArray()));
					}
					for (int i = 0; i < 20; i++) {
						var r = answers.get(i).get(30, TimeUnit.SECONDS);
						check(r.statusCode() == 200 && r.version() == version && Arrays.equals(r.body(), Arrays.copyOf(big, i * 50_000)),
							protocol + " " + version + " " + i + ": " + r.statusCode() + " " + r.version() + " " + r.body().length);
					}
				}
			}
			var echoed = new SynchronousQueue<String>();
			var client = HttpClient.newBuilder().sslContext(context).sslParameters(parameters).build();
			var socket = client.newWebSocketBuilder().buildAsync(URI.create("wss://localhost:" + args[0] + "/echo"), new WebSocket.Listener() {
				final StringBuilder text = new StringBuilder();
				public CompletionStage<?> onText(WebSocket s, CharSequence part, boolean last) {
					text.append(part);
					s.request(1);
					if (!last) return null;
					var whole = text.toString();
					text.setLength(0);
					return CompletableFuture.runAsync(() -> { try { echoed.put(whole); } catch (InterruptedException e) { } });
				}
			}).get(20, TimeUnit.SECONDS);
			for (var text : List.of("x", "0123456789".repeat(10_000))) {
				socket.sendText(text, true).get(20, TimeUnit.SECONDS);
				check(text.equals(echoed.poll(20, TimeUnit.SECONDS)), protocol + ": WebSocket");
			}
			socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get(20, TimeUnit.SECONDS);
		}
		System.exit(0);
	}
}
`

// startForeign runs a proxy for localhost before an origin that serves mux, and sends back
// what it gets at /echo.
func startForeign(t *testing.T, backend string, mux *http.ServeMux) (z *zproxy, ca *authority, port string) {
	t.Helper()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			gorillaEcho(w, r)
			return
		}
		// Some clients read nothing while they write.
		if b, err := io.ReadAll(r.Body); err == nil {
			w.Write(b)
		}
	})
	ca = newAuthority(t, "ca", nil)
	i := ca.issue(t, "ecdsa", nil, "localhost")
	z = startSecure(t, backend, i.cert, i.key, fmt.Sprintf("{endpoints: [{address: %q}]}", webOrigin(t, mux)))
	_, port, _ = net.SplitHostPort(z.addr)
	return z, ca, port
}

// speaks runs a client, by the command that is followed by its source, port and authority.
func speaks(t *testing.T, file, source string, command ...string) {
	besides(t, func(t *testing.T, backend string) {
		z, ca, port := startForeign(t, backend, http.NewServeMux())
		path := writeFile(t, filepath.Join(t.TempDir(), file), source)
		run(t, command[0], append(command[1:], path, port, ca.file)...)
		m := z.metrics(t)
		if failed := m.sum("zproxy_tls_failed_total"); failed != 0 {
			t.Errorf("%v handshakes failed", failed)
		}
		t.Logf("%v handshakes, %v of them resumed, %v connections of HTTP/2", m.sum("zproxy_tls_handshakes_total"),
			m.sum("zproxy_tls_handshakes_total", `resumed="true"`), m.sum("zproxy_http2_connections_total"))
	})
}

func TestTLSPython(t *testing.T) {
	need(t, "python3")
	speaks(t, "client.py", pythonClient, "python3")
}

// Debian's Python has Debian's h2.
func TestTLSPythonH2(t *testing.T) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import h2").Run(); err != nil {
		lacks(t, "h2")
	}
	speaks(t, "client.py", pythonH2Client, python)
}

func TestTLSNode(t *testing.T) {
	need(t, "node")
	speaks(t, "client.js", nodeClient, "node")
}

func TestLengthyTLSJava(t *testing.T) {
	longtest.Need(t)
	need(t, "java")
	speaks(t, "Client.java", javaClient, "java")
}
