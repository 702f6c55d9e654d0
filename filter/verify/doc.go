// Package verify decides about credentials. What takes longer than a turn of a loop may take is done on a
// bounded number of goroutines beside the loops; verdicts are kept for a while, so that most requests find
// theirs at once, without an allocation and without a shared write.
package verify
