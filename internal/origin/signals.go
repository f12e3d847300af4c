package origin

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode"

	"github.com/caplaunch/caplaunch/internal/near"
)

// Signals is a set of signals as the kernel lays it out: bit s-1 is signal s. The zero value is empty.
type Signals uint64

// Has reports whether the signal is in the set. It takes any int and is false outside 1 to 64.
func (s Signals) Has(signal int) bool {
	return 1 <= signal && signal <= 64 && s>>(signal-1)&1 == 1
}

// String lists the set by name, in the order of the numbers: "int pipe rtmin+1".
func (s Signals) String() string {
	var list []string
	for ; s != 0; s &= s - 1 {
		list = append(list, signalName(bits.TrailingZeros64(uint64(s))+1))
	}
	return strings.Join(list, " ")
}

// names are those of signal(7) for Linux on every architecture but mips, sparc, alpha and parisc.
var names = [...]string{
	1: "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2", "pipe",
	"alrm", "term", "stkflt", "chld", "cont", "stop", "tstp", "ttin", "ttou", "urg", "xcpu", "xfsz",
	"vtalrm", "prof", "winch", "io", "pwr", "sys",
}

// The older or other names that signal(7) gives to some of them.
var aliases = map[string]int{"iot": 6, "cld": 17, "poll": 29, "unused": 31}

// The kernel's real-time signals begin at 32; a libc keeps the first for itself, and what kill(1), the
// shells and systemd call RTMIN is glibc's.
const rtmin, rtmax = 34, 64

const sigkill, sigstop = 9, 19

func signalName(signal int) string {
	switch {
	case signal < len(names):
		return names[signal]
	case signal < rtmin:
		return strconv.Itoa(signal)
	case signal == rtmin:
		return "rtmin"
	default:
		return fmt.Sprintf("rtmin+%d", signal-rtmin)
	}
}

// UnknownSignalError is a name or number that is no signal. Near is the name that was probably meant,
// or empty.
type UnknownSignalError struct{ Name, Near string }

func (e *UnknownSignalError) Error() string {
	text := fmt.Sprintf("unknown signal %q", e.Name)
	if e.Near != "" {
		text += fmt.Sprintf(" (did you mean %s?)", e.Near)
	}
	return text
}

// UnignorableError is a request to ignore KILL or STOP, which signal(7) does not allow.
type UnignorableError struct{ Signal int }

func (e *UnignorableError) Error() string {
	return fmt.Sprintf("signal %s cannot be ignored", signalName(e.Signal))
}

// ParseSignals reads lists of signals that are to be ignored, split at commas and white space: names in
// any case, with or without SIG, RTMIN+n and RTMAX-n, or numbers from 1 to 64. The error is an
// *UnknownSignalError or an *UnignorableError.
func ParseSignals(lists []string) (Signals, error) {
	var set Signals
	for _, list := range lists {
		for _, word := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			signal := parseSignal(word)
			switch signal {
			case 0:
				return 0, &UnknownSignalError{Name: word, Near: nearest(word)}
			case sigkill, sigstop:
				return 0, &UnignorableError{Signal: signal}
			}
			set |= 1 << (signal - 1)
		}
	}
	return set, nil
}

// parseSignal gives the number of one signal, or 0.
func parseSignal(word string) int {
	if n, ok := number(word); ok && 1 <= n && n <= rtmax {
		return n
	}
	name := strings.ToLower(word)
	if len(name) != len(word) { // the Kelvin sign is no k
		return 0
	}
	name = strings.TrimPrefix(name, "sig")
	for signal, known := range names {
		if known == name && name != "" {
			return signal
		}
	}
	if signal, ok := aliases[name]; ok {
		return signal
	}
	signal := 0
	if offset, ok := strings.CutPrefix(name, "rtmin"); ok {
		if n, ok := number(strings.TrimPrefix(offset, "+")); ok && offset[0] == '+' {
			signal = rtmin + n
		} else if offset == "" {
			signal = rtmin
		}
	} else if offset, ok := strings.CutPrefix(name, "rtmax"); ok {
		if n, ok := number(strings.TrimPrefix(offset, "-")); ok && offset[0] == '-' {
			signal = rtmax - n
		} else if offset == "" {
			signal = rtmax
		}
	}
	if signal < rtmin || signal > rtmax {
		return 0
	}
	return signal
}

// number reads one or two decimal digits and nothing else: no sign, no leading zero, no wrap-around.
func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && len(s) <= 2 && strconv.Itoa(n) == s && n >= 0
}

// nearest is the known name that was probably meant by word, or "".
func nearest(word string) string {
	if len(word) < 3 {
		return "" // almost every name is near a very short word
	}
	name := strings.TrimPrefix(strings.ToLower(word), "sig")
	return near.Word(name, append(names[1:], "rtmin", "rtmax")...)
}
