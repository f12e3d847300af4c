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
}
