package scarce

import "testing"

// A request brings something, or is mute, or neither: then it is to be waited for.
func TestRequests(t *testing.T) {
	for _, row := range []struct {
		r             Request
		nothing, mute bool
	}{
		{Request{}, true, false},
		{Request{Whole: true}, false, false},
		{Request{Began: true}, false, false},
		{Request{Expects: true}, false, true},
		{Request{Talks: true}, false, true},
		{Request{Talks: true, Began: true}, false, false},
		{Request{Expects: true, Whole: true}, false, false},
		{Request{Talks: true, Whole: true}, false, false},
	} {
		if row.r.BringsNothing() != row.nothing || row.r.IsMute() != row.mute {
			t.Errorf("%+v: brings nothing: %v, mute: %v", row.r, row.r.BringsNothing(), row.r.IsMute())
		}
	}
}

// Who has waited mute for as long as it need has been patient; a 100 takes as long as its
// origin.
func TestPatience(t *testing.T) {
	for _, row := range []struct {
		r    Request
		got  int64 // after the end of its wait
		want int64
	}{
		{Request{}, -1, StallNs}, {Request{Talks: true}, -1, TalkNs}, {Request{Talks: true}, 0, StallNs},
		{Request{Expects: true}, -1, TalkNs}, {Request{Expects: true}, 1, TalkNs},
	} {
		if got := row.r.Patience(1000+row.got, 1000); got != row.want {
			t.Errorf("%+v, let in %d after its time: %d", row.r, row.got, got)
		}
	}
	if a, b := MuteUntil(7, 1e12), MuteUntil(7, 1e9); a != 7+MuteNs || b != 7+5e8 {
		t.Errorf("until %d and %d", a, b)
	}
	if a, b := Enough(WholeBytes, 1<<20), Enough(WholeBytes, 32<<10); a != WholeBytes || b != 16<<10 {
		t.Errorf("%d and %d are enough", a, b)
	}
}
