package loop

import "time"

// longTurn is what no turn is to take: for as long a loop hears of nothing else.
const longTurn = 2 * time.Millisecond

// endTurn counts a turn. It began when the collection before had ended, and ends where the loop falls asleep, else
// where it has collected again: sleeping is no part of it. The first Poll has none behind it.
func (s *Stats) endTurn(ns int64) {
	if s.Polls == 1 {
		return
	}
	turn := time.Duration(ns)
	if turn > longTurn {
		s.LongTurns++
	}
	s.LongestTurn = max(s.LongestTurn, turn)
}
