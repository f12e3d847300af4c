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

// signalNames are those of signal(7) for Linux on every architecture but mips, sparc, alpha and parisc.
var signalNames = [...]string{
	1: "hup", "int", "quit", "ill", "trap", "abrt", "bus", "fpe", "kill", "usr1", "segv", "usr2", "pipe",
	"alrm", "term", "stkflt", "chld", "cont", "stop", "tstp", "ttin", "ttou", "urg", "xcpu", "xfsz",
	"vtalrm", "prof", "winch", "io", "pwr", "sys",
}

// The kernel's real-time signals begin at 32; a libc keeps the first for itself, and what kill(1), the
// shells and systemd call RTMIN is glibc's.
const rtmin, rtmax = 34, 64

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

// parseSignals reads lists of signals that are to be ignored, split at commas and white space: names in
// any case, with or without SIG, RTMIN+n and RTMAX-n, or numbers from 1 to 64. The error is a *signalError.
func parseSignals(lists []string) (origin.Signals, error) {
	var set origin.Signals
	for _, list := range lists {
		for _, word := range ambient.Fields(list) {
			switch signal := parseSignal(word); signal {
			case 0:
				name := strings.TrimPrefix(strings.ToLower(word), "sig")
				e := &signalError{Name: word}
				if len(word) > 2 { // almost every name is near a very short word
					e.Near = near.Word(name, append(signalNames[1:len(signalNames):len(signalNames)], "rtmin", "rtmax")...)
				}
				return 0, e
			case 9, 19:
				return 0, &signalError{Name: word, Unignorable: true}
			default:
				set |= origin.SignalsOf(signal)
			}
		}
	}
	return set, nil
}

// parseSignal gives the number of one signal, or 0.
func parseSignal(word string) int {
	name := strings.ToLower(word)
	if len(name) != len(word) { // the Kelvin sign is no k
		return 0
	}
	name = strings.TrimPrefix(name, "sig")
	signal := 0
	if n, ok := number(word); ok {
		signal = n
	} else if i := slices.Index(signalNames[:], name); i > 0 {
		signal = i
	} else if offset, ok := strings.CutPrefix(name, "rtmin"); ok {
		if n, ok := number(strings.TrimPrefix(offset, "+")); ok && offset[0] == '+' || offset == "" {
			signal = rtmin + n
		}
	} else if offset, ok := strings.CutPrefix(name, "rtmax"); ok {
		if n, ok := number(strings.TrimPrefix(offset, "-")); ok && offset[0] == '-' || offset == "" {
			signal = rtmax - n
		}
		if signal < rtmin {
			signal = 0
		}
	}
	if signal > rtmax {
		return 0
	}
	return signal
}

// number reads one or two decimal digits and nothing else: no sign, no leading zero, no wrap-around.
func number(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && len(s) <= 2 && strconv.Itoa(n) == s && n >= 0
}
