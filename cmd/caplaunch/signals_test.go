package main

import (
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/origin"
)

func TestSignalsAreNamesAndNumbers(t *testing.T) {
	of := origin.SignalsOf
	for list, want := range map[string]origin.Signals{
		"PIPE": of(13), "pipe,,pipe,": of(13), "1,64 31": of(1, 64, 31), "32 33": of(32, 33), "int\tquit\nusr1": of(2, 3, 10),
		"sigpipe,SigTerm hup": of(13, 15, 1), "chld,io,abrt,sys,stkflt": of(17, 29, 6, 31, 16),
		"RTMIN,rtmin+1,SIGRTMIN+30": of(34, 35, 64), "rtmax rtmax-1 sigrtmax-30": of(64, 63, 34), "rtmin+0 rtmax-0": of(34, 64),
	} {
		if got, _, err := parseSignals([]string{list}); err != nil || got != want {
			t.Errorf("%q: got %x, %v; want %x", list, uint64(got), err, uint64(want))
		}
	}
	two, _, err := parseSignals([]string{"int", "quit"})
	if none, _, noErr := parseSignals(nil); err != nil || two != of(2, 3) || noErr != nil || none != 0 {
		t.Errorf("two lists: %x, %v; no list: %x, %v", uint64(two), err, uint64(none), noErr)
	}
	for i, name := range signalNames {
		if name == "" || i == 9 || i == 19 {
			continue
		}
		if got, _, err := parseSignals([]string{name}); err != nil || got != of(i) {
			t.Errorf("%s: got %x, %v", name, uint64(got), err)
		}
	}
}

func TestWhatIsNoSignalIsRefused(t *testing.T) {
	for list, near := range map[string]string{
		"piep": "pipe", "SIGTREM": "term", "chdl": "chld", "pipee": "pipe",
		"": "", " , \t\n": "", "0": "", "65": "", "-1": "", "+5": "", "013": "", "18446744073709551617": "", "0x1": "", "SIG": "",
		"sig13": "", "RTMIN+31": "", "rtmin-1": "", "rtmin++1": "", "rtmax+1": "", "rtmax-31": "", "rtmin+-1": "", "rtmin+01": "",
		"piéé": "", "\xff": "", "1.0": "", strings.Repeat("x", 1<<20): "", "KILL": "", "sigstop": "", "9": "", "19": "",
	} {
		for _, lists := range [][]string{{list}, {"int " + list}} {
			got, meant, err := parseSignals(lists)
			if strings.Trim(list, " ,\t\n") == "" && lists[0] != list {
				continue
			}
			if err == nil || got != 0 || near != "" && meant != near || len(err.Error()) > 200 {
				t.Errorf("%.20q: %x, %q, %v", lists, uint64(got), meant, err)
			}
		}
	}
}
