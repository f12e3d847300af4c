package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/near"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// signalNames are those of signal(7) for Linux on every architecture but mips,
// sparc, alpha and parisc, by their numbers.
var signalNames = [...]string{
	1: "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2", "pipe",
	"alrm", "term", "stkflt", "chld", "cont", "stop", "tstp", "ttin", "ttou", "urg", "xcpu", "xfsz",
	"vtalrm", "prof", "winch", "io", "pwr", "sys",
}

// parseSignals reads lists of signals that are to be ignored, split at commas and
// white space: names in any case, with or without SIG, RTMIN+n and RTMAX-n, or
// numbers from 1 to 64. With an error comes the name that was probably meant, or
// "".
func parseSignals(lists []string) (set origin.Signals, meant string, err error) {
	for _, word := range ambient.Fields(strings.Join(lists, ",")) {
		switch signal := parseSignal(word); signal {
		case 0:
			if len(word) > 2 { // almost every name is near a very short word
				meant = near.Word(strings.TrimPrefix(strings.ToLower(word), "sig"), signalNames[1:]...)
			}
			if meant != "" {
				return 0, meant, fmt.Errorf("unknown signal %q (did you mean %s?)", word, meant)
			}
			return 0, "", fmt.Errorf("unknown signal %.64q", word)
		case 9, 19:
			return 0, "", fmt.Errorf("signal %s cannot be ignored", word)
		default:
			set |= origin.SignalsOf(signal)
		}
	}
	if lists != nil && set == 0 {
		err = errors.New("an empty list of signals")
	}
	return set, "", err
}

// parseSignal gives the number of one signal, or 0. The real-time signals count
// from 34, as for kill(1), the shells and systemd: a libc keeps two for itself.
func parseSignal(word string) int {
	name := strings.TrimPrefix(strings.ToLower(word), "sig")
	base, sign := 0, 1
	if i := slices.Index(signalNames[:], name); i > 0 {
		return i
	} else if rest, ok := strings.CutPrefix(name, "rtmin"); ok {
		base, word = 34, strings.TrimPrefix(rest, "+")
	} else if rest, ok := strings.CutPrefix(name, "rtmax"); ok {
		base, sign, word = 64, -1, strings.TrimPrefix(rest, "-")
	}
	n, _ := strconv.Atoi(word)
	switch signal := base + sign*n; {
	case base > 0 && word == "":
		return base
	case strconv.Itoa(n) != word || n < 0 || signal > 64 || base > 0 && signal < 34:
		return 0
	default:
		return signal
	}
}
