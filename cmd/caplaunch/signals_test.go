package main

import (
	"errors"
	"strings"
	"testing"
)

func set(signals ...int) Signals {
	var s Signals
	for _, signal := range signals {
		s |= 1 << (signal - 1)
	}
	return s
}

func TestParseSignalsReadsNamesAndNumbers(t *testing.T) {
	for list, want := range map[string]Signals{
		"":                           0,
		" , \t\n":                    0,
		"PIPE":                       set(13),
		"sigpipe,SigTerm hup":        set(13, 15, 1),
		"1,64 31":                    set(1, 64, 31),
		"RTMIN,rtmin+1,SIGRTMIN+30":  set(34, 35, 64),
		"rtmax rtmax-1 sigrtmax-30":  set(64, 63, 34),
		"rtmin+0 rtmax-0":            set(34, 64),
		"32 33":                      set(32, 33),
		"cld,poll,iot,unused,stkflt": set(17, 29, 6, 31, 16),
		"pipe,,pipe,":                set(13),
		"usr1\u00a0usr2":             set(10, 12),
	} {
		if got, err := ParseSignals([]string{list}); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", list, got, err, want)
		}
	}
	if got, err := ParseSignals([]string{"int", "quit"}); err != nil || got != set(2, 3) {
		t.Errorf("two lists: got %v, %v", got, err)
	}
}

func TestParseSignalsReadsItsOwnNames(t *testing.T) {
	for signal := 1; signal <= 64; signal++ {
		if signal == sigkill || signal == sigstop {
			continue
		}
		if got, err := ParseSignals([]string{set(signal).String()}); err != nil || got != set(signal) {
			t.Errorf("%d is %q: got %v, %v", signal, set(signal), got, err)
		}
	}
}

func TestUnknownSignalSuggestsTheNearest(t *testing.T) {
	for name, near := range map[string]string{
		"piep": "pipe", "SIGTREM": "term", "chdl": "chld", "rtmni": "rtmin", "sigsig": "", "pipee": "pipe",
		"0": "", "65": "", "-1": "", "+5": "", "013": "", "18446744073709551617": "", "0x1": "", "SIG": "",
		"sig13": "", "RTMIN+31": "", "rtmin-1": "", "rtmin+": "", "rtmin++1": "", "rtmin1": "", "rtmax+1": "",
		"rtmax-31": "", "rtmin+-1": "", "piéé": "", "\xff": "", "1.0": "", strings.Repeat("x", 1<<20): "",
	} {
		_, err := ParseSignals([]string{"int " + name})
		var unknown *UnknownSignalError
		if !errors.As(err, &unknown) || unknown.Name != name {
			t.Errorf("%.20q: got %v", name, err)
		} else if near != "" && unknown.Near != near {
			t.Errorf("%q: suggested %q, want %q", name, unknown.Near, near)
		}
	}
}

func TestKillAndStopCannotBeIgnored(t *testing.T) {
	for name, signal := range map[string]int{"KILL": 9, "sigstop": 19, "9": 9, "19": 19} {
		var refused *UnignorableError
		if _, err := ParseSignals([]string{name}); !errors.As(err, &refused) || refused.Signal != signal {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSetOfSignals(t *testing.T) {
	s := set(1, 33, 34, 64)
	if got := s.String(); got != "hup 33 rtmin rtmin+30" {
		t.Errorf("String: %q", got)
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

func FuzzParseSignals(f *testing.F) {
	f.Add("int,SIGPIPE rtmin+3")
	f.Fuzz(func(t *testing.T, list string) {
		if got, err := ParseSignals([]string{list}); err == nil && (got.Has(sigkill) || got.Has(sigstop)) {
			t.Errorf("%q gives %v", list, got)
		}
	})
}
