package loop

import (
	"testing"

	"zproxy/buf"
)

func TestListsKeepRoomForWhatWasNeeded(t *testing.T) {
	for _, c := range []struct{ room, in, most, want int }{
		{listKeep * 4, 0, 0, listKeep * 4}, // little altogether
		{100_000, 0, 0, 2 * listKeep},
		{100_000, 3, 5000, 10_000},
		{100_000, 3000, 10, 6000},
		{100_000, 3, 25_000, 100_000}, // it would soon be needed again
	} {
		list := make([]int, c.in, c.room)
		for i := range list {
			list[i] = i
		}
		most := c.most
		got := trimmed(list, &most)
		if len(got) != c.in || cap(got) != c.want || most != 0 {
			t.Errorf("%+v: %d in room for %d, %d to be needed", c, len(got), cap(got), most)
		}
		for i, v := range got {
			if v != i {
				t.Fatalf("%+v: item %d is %d", c, i, v)
			}
		}
	}
}

// Where many events came at once, room for them does not stay; but while they
// come, it does.
func TestTrimGivesRoomForEventsBack(t *testing.T) {
	var l Loop
	l.pool = buf.NewPool(buf.NewSliceMemory(1<<20, 1<<20), 16<<10)
	burst := func() {
		for range 10_000 {
			l.push(Event{Kind: MailIn})
			l.dials = append(l.dials, dialRequest{})
		}
		for l.Next() != nil {
		}
		l.recycle()
		l.startDials()
	}
	burst()
	l.Trim()
	if cap(l.events) < 10_000 || cap(l.dials) < 10_000 {
		t.Fatalf("room for %d events and %d dials just after 10000 of each", cap(l.events), cap(l.dials))
	}
	l.Trim()
	if cap(l.events) > 2*listKeep || cap(l.dials) > 2*listKeep {
		t.Fatalf("room for %d events and %d dials while nothing happens", cap(l.events), cap(l.dials))
	}
}
