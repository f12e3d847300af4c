package shell

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/unit"
)

// What is pasted into a shell comes out as it went in, and is one line.
func TestWordsComeOutOfAShellAsTheyWentIn(t *testing.T) {
	words := []string{"", "a", "-c", "a b", "it's", `"$x" ` + "`id`", `\`, "a\nb", "\x01'\\\x7f", "*", "~", "é", "\xff\xfe", "#", "!", "a=b", "--user=65532:65532", "cap_net_raw+ep", "%s", "日本"}
	for range 200 {
		b := make([]byte, 1+rand.IntN(8))
		for i := range b {
			b[i] = byte(1 + rand.IntN(255))
		}
		words = append(words, string(b))
	}
	line := Line(words...)
	if strings.ContainsAny(line, "\n\r\x00\x1b") {
		t.Errorf("%q is not one plain line", line)
	}
	out, err := exec.Command("bash", "-c", `printf '%s\0' `+line).Output()
	unit.Must(t, err)
	for i, got := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if got != words[i] {
			t.Errorf("%q became %q by %s", words[i], got, Word(words[i]))
		}
	}
}
