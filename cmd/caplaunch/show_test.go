package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caplaunch/caplaunch/internal/ambient"
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
	s, err := ambient.ParseStatus(status)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(shown(s).Permitted, " "); got != "net_admin 45 63" {
		t.Error(got)
	}
	var b bytes.Buffer
	printSets(&b, nil, s, style{})
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
		st            style
		want          string
	}{
		{before, after, style{}, "  P  .  E  .  B      P +I  E +A  B  net_admin\n  .  .  .  .  B      .  .  .  .  B  chown\n  P  .  E  .  B     -P  . -E  .  B  setgid setuid\n"},
		{after, after, colours, "  P  I  E  A  B      P  I  E  A  B  net_admin\n  .  .  .  .  B      .  .  .  .  B  chown setgid setuid\n"},
		{ambient.State{}, ambient.State{Ambient: 1}, colours, "  .  .  .  .  .      .  .  . \x1b[32m+A\x1b[0m  .  chown\n"},
		{ambient.State{Ambient: 1}, ambient.State{}, colours, "  .  .  .  A  .      .  .  . \x1b[31m-A\x1b[0m  .  chown\n"},
		{ambient.State{}, ambient.State{}, colours, "  no capability in any of the five sets\n"},
	} {
		var b bytes.Buffer
		printSets(&b, &c.before, c.after, c.st)
		if b.String() != c.want {
			t.Errorf("%q\nwant\n%q", b.String(), c.want)
		}
	}
}

func TestStatesStandBelowEachOther(t *testing.T) {
	got := describe(ambient.State{GID: ambient.IDs{Effective: 5}}, ambient.State{UID: ambient.Same(65532), GID: ambient.Same(65532), Groups: ambient.NewGroups(65532, 7), NoNewPrivs: true})
	want := []string{"uid 0      gid 0,5,0  no_new_privs off  groups none", "uid 65532  gid 65532  no_new_privs on   groups 7,65532"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%q", got)
	}
}

func TestWrapBreaksAtSpacesAndLongWordsAtCommas(t *testing.T) {
	long := strings.Repeat("x", 40)
	for text, want := range map[string]string{
		"": "", "a  b": "a  b", "aaaaa bbbbb ccccc": "aaaaa bbbbb|ccccc", "1,2,3,4,5,6,7,8,9": "1,2,3,4,5,6,|7,8,9",
		"a 1111,2222,3333,4444 b": "a 1111,2222,|3333,4444 b", "a " + long + " b": "a|" + long + "|b", "éééééé éééééé": "éééééé|éééééé", "ééééé éééééé": "ééééé éééééé",
	} {
		if got := strings.Join(wrap(text, 12), "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzWrapLosesNothing(f *testing.F) {
	f.Add("a b,c  d", 5)
	f.Add(strings.Repeat("net_admin,", 41), 60)
	f.Fuzz(func(t *testing.T, text string, width int) {
		width = max(1, min(width, 200))
		lines := wrap(text, width)
		squash := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		if squash(strings.Join(lines, "")) != squash(text) {
			t.Errorf("%q is %q", text, lines)
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width && strings.ContainsAny(strings.Trim(l, " ,"), " ") {
				t.Errorf("%q is longer than %d", l, width)
			}
		}
	})
}
