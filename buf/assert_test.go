//go:build assert

package buf

import "testing"

// With -tags assert a view is checked at every use.
func TestUseAfterRelease(t *testing.T) {
	p := newPool(2, 2)
	v := mustGet(t, p)
	mustPanic(t, "outside its block", func() { p.Bytes(View{v.ID, 60, 5}) })
	mustPanic(t, "outside its view", func() { v.Slice(60, 5) })
	p.Release(v)
	mustPanic(t, "released", func() { p.Bytes(v) })
}
