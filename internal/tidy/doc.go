// Package tidy holds the tests of the architecture: which package may import
// which, what the data path must not use, how long a file and a function may
// get. They read the source of the whole repository, also what a build tag
// leaves out, and run with every `go test ./...`.
//
// The rules are the tables in rules_test.go. A rule that is in the way is
// changed there, together with ARCHITECTURE.md and a note in docs/decisions/
// that says why; an exception is one line with its reason, and the tests fail
// when nothing needs it any more.
package tidy
