package numa

import "testing"

func TestWordsAreZeroAndWritable(t *testing.T) {
	const n = 3 * 4096
	words, err := MapWords(n)
	if err != nil {
		t.Fatal(err)
	}
	if len(words) != n {
		t.Fatalf("%d words, want %d", len(words), n)
	}
	for i := range words {
		if v := words[i].Add(int64(i)); v != int64(i) {
			t.Fatalf("word %d was %d", i, v-int64(i))
		}
	}
	if err := UnmapWords(words); err != nil {
		t.Fatal(err)
	}
	if _, err := MapWords(0); err == nil {
		t.Error("no words were mapped")
	}
}
