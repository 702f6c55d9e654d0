#!/usr/bin/env bash
# Express never answers 304 to an entity tag that has a comma: its package fresh splits If-None-Match inside the quotes.
#
# Seen with: fresh 2.0.0 (npm), which Express and send decide by.
# RFC 9110 section 8.8.3 allows every visible character but the quote between the quotes, so a comma, and section 13.1.2 makes
# If-None-Match a list of such tags. fresh cuts the list at every comma and compares the pieces: neither half of "a,b" is equal
# to the tag, and a conditional request for it is always answered in full.
# Why a proxy cares: one that compresses or caches may build an entity tag out of parts of its own, and a comma is the separator that
# comes to mind. Revalidation of such an answer at an Express origin costs the whole content, every time, and nothing is
# wrong in any log.
#
# Needs npm, and Node 18 or later. Fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
echo '{"private":true}' >package.json
npm install --silent --no-audit --no-fund fresh@2.0.0 >&2
cat >main.js <<'JS'
const fresh = require('fresh');
let ok = true;
for (const [list, etag, expected] of [
  ['"a-b"', '"a-b"', true],
  ['"x", W/"a"', '"a"', true],
  ['"x,y", "a"', '"a"', true],
  ['"a,b"', '"a,b"', false],
  ['W/"a,b"', 'W/"a,b"', false],
]) {
  const got = fresh({ 'if-none-match': list }, { etag });
  console.log(`If-None-Match: ${list}, ETag: ${etag}: ${got ? '304' : 'the whole content'}`);
  ok &&= got === expected;
}
if (!ok) console.log('expected 304 for tags without a comma alone: the behaviour has changed');
process.exit(ok ? 0 : 1);
JS
echo "fresh $(node -p "require('fresh/package.json').version"), Node $(node --version)"
node main.js
