package origin

import "testing"

func TestSetOfSignals(t *testing.T) {
	s := SignalsOf(1, 33, 34, 64)
	if s != 1|1<<32|1<<33|1<<63 || SignalsOf() != 0 {
		t.Errorf("%x", uint64(s))
	}
	for _, signal := range []int{-1, 0, 2, 65, 1 << 30} {
		if s.Has(signal) {
			t.Errorf("Has(%d)", signal)
		}
	}
	if !s.Has(1) || !s.Has(64) {
		t.Error("Has misses the ends")
	}
}
