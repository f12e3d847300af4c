package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

// status is a /proc/PID/status with bits that have no name.
const status = `Name:	x
Uid:	1	1	1	1
Gid:	2	2	2	2
Groups:	3 4 
CapInh:	0000000000000000
CapPrm:	8000200000001000
CapEff:	0000000000001000
CapBnd:	0000200000001000
CapAmb:	0000000000000000
NoNewPrivs:	1
`

func TestBitsWithoutANamePrintAsNumbers(t *testing.T) {
	s, err := parseStatus(status)
	unit.Must(t, err)
	if got := strings.Join(shown(s).Permitted, " "); got != "net_admin 45 63" {
		t.Error(got)
	}
	var b bytes.Buffer
	printSets(&b, s, s)
	if want := "  P  .  E  .  B  net_admin\n  P  .  .  .  B  45\n  P  .  .  .  .  63\n"; b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

func TestOnlyWhatDiffersIsMarked(t *testing.T) {
	sets := ambient.SetOf(6, 7, 12)
	before := ambient.State{Permitted: sets, Effective: sets, Bounding: sets | 1}
	admin := ambient.SetOf(12)
	after := ambient.State{Permitted: admin, Effective: admin, Inheritable: admin, Ambient: admin, Bounding: sets | 1}
	for _, c := range []struct {
		before, after ambient.State
		want          string
	}{
		{before, after, "  P +I  E +A  B  net_admin\n  .  .  .  .  B  chown\n -P  . -E  .  B  setgid setuid\n"},
		{after, after, "  P  I  E  A  B  net_admin\n  .  .  .  .  B  chown setgid setuid\n"},
		{ambient.State{}, ambient.State{Ambient: 1}, "  .  .  . +A  .  chown\n"},
		{ambient.State{Ambient: 1}, ambient.State{}, "  .  .  . -A  .  chown\n"},
		{ambient.State{}, ambient.State{}, "  no capability in any of the five sets\n"},
	} {
		var b bytes.Buffer
		printSets(&b, c.before, c.after)
		if b.String() != c.want {
			t.Errorf("%q\nwant\n%q", b.String(), c.want)
		}
	}
}

func TestWrapBreaksAtSpacesAndLongWordsAtCommas(t *testing.T) {
	long := strings.Repeat("x", 40)
	for text, want := range map[string]string{
		"": "", "a  b": "a  b", "aaaaa bbbbb ccccc": "aaaaa bbbbb|ccccc", "1,2,3,4,5,6,7,8,9": "1,2,3,4,5,6,|7,8,9",
		"a 1111,2222,3333,4444 b": "a|1111,2222,|3333,4444 b", "a " + long + " b": "a|" + long + "|b", "éééééé éééééé": "éééééé|éééééé", "ééééé éééééé": "ééééé éééééé",
	} {
		if got := strings.Join(wrap(text, 12), "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestOddCharactersAreShown(t *testing.T) {
	if got := oneLine("a\x1b[1m\nb\u202eé"); got != `a\x1b[1m\x0ab\x202eé` {
		t.Errorf("%q", got)
	}
}
