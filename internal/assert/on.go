//go:build assert

package assert

// Enabled says whether the expensive checks are compiled in.
const Enabled = true
