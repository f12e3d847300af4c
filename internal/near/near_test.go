package near

import (
	"strings"
	"testing"
)

func TestTheNearestWord(t *testing.T) {
	known := []string{"net_admin", "net_raw", "sys_admin", "kill", "allow", "allow-new-privs", "sets", "user"}
	for word, want := range map[string]string{
		"net_admin": "net_admin", "net_amdin": "net_admin", "net_adm": "net_admin", "netadmin": "net_admin", "ys_admin": "sys_admin",
		"kil": "kill", "kll": "kill", "allo": "allow", "set": "sets", "usr": "user", "": "", "x": "", "net": "", "dac_override": "",
		strings.Repeat("a", 1<<20): "",
	} {
		if got := Word(word, known...); got != want {
			t.Errorf("%.20q: %q, not %q", word, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		n    int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"abc", "acb", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if n := slips(c.a, c.b, 9); n != c.n {
			t.Errorf("%q to %q: %d slips, not %d", c.a, c.b, n, c.n)
		}
	}
}
