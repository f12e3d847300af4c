package identity

import (
	"errors"
	"strings"
	"testing"
)

func TestHostileSpecsAreRefused(t *testing.T) {
	for spec, want := range map[string]Problem{
		"": Empty, ":": EmptyUser, "0:": EmptyGroup, ":0": EmptyUser, "1:2:3": Colons,
		"4294967295": TooLarge, "4294967296": TooLarge, "2147483648": TooLarge,
		"99999999999999999999999999": TooLarge, "-1": NotDecimal, "+5": NotDecimal, "0x1": NotDecimal,
		"0xffffffffffffffffffff": NotDecimal, "0b1": NotDecimal, "0o7": NotDecimal, "1_000": NotDecimal, "1e3": NotDecimal, "007": NotDecimal, "00": NotDecimal,
		"1.0": NotDecimal, "0x1p-2": NotDecimal, "-inf": NotDecimal,
		" 1": NotAName, "1 ": NotAName, "\t0": NotAName, "0\n": NotAName, "a b": NotAName, "-": NotAName, "+a": NotAName, "=1:1": NotAName,
		"65532:+5": NotDecimal, "65532:4294967296": TooLarge, "65532:-1": NotDecimal, "65532: 0": NotAName, "+5:7": NotDecimal,
		"root\x00": NotAName, "a\x7f": NotAName, "../etc": NotAName, "a,b": NotAName, "\u00a00": NotAName, "\xff": NotAName,
		strings.Repeat("a", 256): NotAName,
	} {
		_, err := Parse(spec)
		if e, ok := errors.AsType[*SpecError](err); !ok || e.Problem != want || !strings.Contains(spec, e.Text) || e.Text == "" && spec != "" {
			t.Errorf("Parse(%q): %v, want it to be refused because it %s", spec, err, want)
		}
	}
}

func TestPlainSpecsAreRead(t *testing.T) {
	for spec, want := range map[string][2]string{
		"0": {"0", ""}, "0:0": {"0", "0"}, "65532:65532": {"65532", "65532"}, "2147483647": {"2147483647", ""},
		"www-data": {"www-data", ""}, "nobody:users": {"nobody", "users"}, "3proxy": {"3proxy", ""}, "nan": {"nan", ""}, "jürgen": {"jürgen", ""},
		`DOM\user`: {`DOM\user`, ""}, "host$": {"host$", ""},
		strings.Repeat("a", 255): {strings.Repeat("a", 255), ""},
	} {
		s, err := Parse(spec)
		group := ""
		if s.Group != nil {
			group = s.Group.Text
		}
		if err != nil || s.User.Text != want[0] || group != want[1] {
			t.Errorf("Parse(%q) = %+v, %v", spec, s, err)
		}
	}
}

func TestListsOfGroups(t *testing.T) {
	names, err := ParseGroups("net,7", "log net")
	if err != nil || len(names) != 4 || names[1] != (Name{Text: "7", ID: 7, Numeric: true}) || names[2] != (Name{Text: "log"}) {
		t.Errorf("%v, %v", names, err)
	}
	if names, err := ParseGroups(strings.Repeat("1,", 1<<16)); err != nil || len(names) != 1<<16 {
		t.Error(err)
	}
	for list, want := range map[string]Problem{"": Empty, ", \t\n": Empty, "1,+2": NotDecimal, "1,4294967295": TooLarge, "net:log": NotAName, strings.Repeat("1,", 70_000): TooMany} {
		_, err := ParseGroups(list)
		e, ok := errors.AsType[*SpecError](err)
		if !ok || e.Problem != want || len(err.Error()) > 200 || !strings.Contains(list, e.Text) || e.Text == "" && list != "" {
			t.Errorf("ParseGroups(%.20q): %v", list, err)
		}
	}
}
