// Package apikey asks for a key, of which a file has the SHA-256. Keys are random: 128 bits of them cannot be
// guessed, so that a fast hash is as good as a slow one, and is computed on the loop.
package apikey
