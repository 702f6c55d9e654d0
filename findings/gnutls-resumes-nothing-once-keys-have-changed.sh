#!/usr/bin/env bash
# A GnuTLS client that has changed its keys (KeyUpdate) offers none of its tickets on the next connection.
#
# Seen with: GnuTLS 3.8.13 (Debian's development branch), against OpenSSL 3.0 and a server of Go's crypto/tls alike; GnuTLS
# 3.7.9 (Debian 12) resumes.
# RFC 9846 section 4.7.3: a KeyUpdate makes new application traffic secrets. The resumption secret is another branch of the key
# schedule (section 7.1), and a ticket that was received before is as good as ever; the manual of
# gnutls_session_key_update() says nothing of sessions either. The client sends no pre_shared_key, and makes a full handshake.
# Why a proxy cares: clients that keep connections for long are those that change keys, and after a restart of the proxy all of
# them come back at once: with full handshakes, however well tickets are shared.
#
# Needs root, debootstrap and openssl. Fails when the behaviour changes.
set -euo pipefail
command -v debootstrap >/dev/null || apt-get install -y --no-install-recommends debootstrap >&2
dir=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"
debootstrap --variant=minbase --include=gnutls-bin sid root >debootstrap.log 2>&1 || { tail debootstrap.log >&2; exit 2; }
client() {
	root/usr/lib64/ld-linux-x86-64.so.2 --library-path root/usr/lib/x86_64-linux-gnu root/usr/bin/gnutls-cli "$@"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=a.example \
	-addext subjectAltName=DNS:a.example -keyout key.pem -out cert.pem 2>/dev/null
# It sends lines back with their letters reversed.
openssl s_server -accept 127.0.0.1:9646 -cert cert.pem -key key.pem -rev -tls1_3 >server.log 2>&1 &
server=$!
sleep 0.5

# outcome COMMAND...: gives the commands to the client, then "resume", and says how the second handshake went.
outcome() {
	{
		echo abc
		sleep 0.5 # the ticket has come
		for command in "$@" resume; do
			echo "^$command^"
			sleep 0.5
		done
		echo def
		sleep 0.5
	} | client --port 9646 --x509cafile cert.pem --sni-hostname a.example --verify-hostname a.example \
		--inline-commands --logfile client.log 127.0.0.1 >answers
	[[ $(tr '\n' ' ' <answers) == "cba fed " ]] || { cat client.log >&2; exit 2; }
	grep -q 'This is a resumed session' client.log && echo resumed || echo full
}

client --version | head -1
openssl version
without=$(outcome) with=$(outcome rekey)
echo "the next handshake without a KeyUpdate: $without; with one: $with"
[[ $without == resumed && $with == full ]] || { echo "expected: resumed, full. The behaviour has changed"; exit 1; }
