package main

import (
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

// A signalError is a word that is no signal, or one that cannot be ignored.
type signalError struct {
	Name        string
	Near        string // the name that was probably meant, or empty
	Unignorable bool   // KILL or STOP, signal(7)
}

func (e *signalError) Error() string {
	switch {
	case e.Unignorable:
		return fmt.Sprintf("signal %s cannot be ignored", e.Name)
	case e.Near != "":
		return fmt.Sprintf("unknown signal %q (did you mean %s?)", e.Name, e.Near)
	}
	return fmt.Sprintf("unknown signal %.64q", e.Name)
}

// parseSignals reads lists of signals that are to be ignored, split at commas and
// white space: names in any case, with or without SIG, RTMIN+n and RTMAX-n, or
// numbers from 1 to 64. The error is a *signalError.
func parseSignals(lists []string) (set origin.Signals, err error) {
	for _, word := range ambient.Fields(strings.Join(lists, ",")) {
		switch signal := parseSignal(word); signal {
		case 0:
			e := &signalError{Name: word}
			if len(word) > 2 { // almost every name is near a very short word
				e.Near = near.Word(strings.TrimPrefix(strings.ToLower(word), "sig"), signalNames[1:]...)
			}
			return 0, e
		case 9, 19:
			return 0, &signalError{Name: word, Unignorable: true}
		default:
			set |= origin.SignalsOf(signal)
		}
	}
	return set, nil
}

// parseSignal gives the number of one signal, or 0. The real-time signals count
// from 34, as for kill(1), the shells and systemd: a libc keeps two for itself.
func parseSignal(word string) int {
	name := strings.TrimPrefix(strings.ToLower(word), "sig")
	base, sign := 0, 1
	if i := slices.Index(signalNames[:], name); i > 0 && len(name) <= len(word) {
		return i
	} else if rest, ok := strings.CutPrefix(name, "rtmin"); ok {
		base, word = 34, strings.TrimPrefix(rest, "+")
	} else if rest, ok := strings.CutPrefix(name, "rtmax"); ok {
		base, sign, word = 64, -1, strings.TrimPrefix(rest, "-")
	}
	n, err := strconv.Atoi(word)
	switch signal := base + sign*n; {
	case base > 0 && word == "":
		return base
	case err != nil || strconv.Itoa(n) != word || n < 0 || signal > 64 || base > 0 && signal < 34:
		return 0
	default:
		return signal
	}
}
