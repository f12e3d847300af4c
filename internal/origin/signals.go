package origin

// Signals is a set of signals as the kernel lays it out: bit s-1 is signal s. The zero value is empty.
type Signals uint64

// SignalsOf is the set of the given signals, each from 1 to 64.
func SignalsOf(signals ...int) (s Signals) {
	for _, signal := range signals {
		s |= 1 << (signal - 1)
	}
	return s
}

// Has reports whether the signal is in the set. It takes any int and is false outside 1 to 64.
func (s Signals) Has(signal int) bool {
	return 1 <= signal && signal <= 64 && s>>(signal-1)&1 == 1
}
