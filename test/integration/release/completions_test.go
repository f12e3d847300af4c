package release

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// typed are lines, and what a shell makes of them when Tab is pressed.
var typed = map[string]string{
	"caplaunch --opt":                    "caplaunch --optional-caps",
	"caplaunch --caps=net_ad":            "caplaunch --caps=net_admin",
	"caplaunch --caps=net_raw,net_ad":    "caplaunch --caps=net_raw,net_admin",
	"caplaunch -c net_bi":                "caplaunch -c net_bind_service",
	"caplaunch --user=daem":              "caplaunch --user=daemon",
	"caplaunch --bounding=dr":            "caplaunch --bounding=drop",
	"caplaunch expl":                     "caplaunch explain",
	"caplaunch explain --for=kub":        "caplaunch explain --for=kubernetes",
	"caplaunch check --sets=bou":         "caplaunch check --sets=bounding",
	"caplaunch --ignore-signals=PIP":     "caplaunch --ignore-signals=PIPE",
	"caplaunch -u 65532:65532 -- setpri": "caplaunch -u 65532:65532 -- setpriv",
}

// What Tab does is asked of the shells themselves, in a terminal.
func TestCompletionsInShells(t *testing.T) {
	engine.Require(t, "tmux", "bash", "zsh")
	dir := filepath.Join(engine.Root, "packaging/completions")
	for shell, c := range map[string]struct{ start, setup string }{
		"bash": {"bash --norc --noprofile -i", "PS1='ready> '; bind 'set bell-style none'; source " + dir + "/caplaunch.bash"},
		"zsh":  {"zsh -f -i", "PS1='ready> '; fpath=(" + dir + " $fpath); autoload -U compinit; compinit -u -D"},
	} {
		t.Run(shell, func(t *testing.T) {
			socket := filepath.Join(engine.TempDir(t), "tmux")
			tmux := func(args ...string) string {
				t.Helper()
				return ok(t, append([]string{"env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + filepath.Dir(socket), "TERM=xterm", "tmux", "-f", "/dev/null", "-S", socket}, args...)...)
			}
			tmux("new-session", "-d", "-x", "150", "-y", "50", c.start)
			t.Cleanup(func() { engine.Exec(t, "tmux", "-S", socket, "kill-server") })
			await := func(want string) {
				t.Helper()
				line := regexp.MustCompile(`(?m)^ready>` + regexp.QuoteMeta(want) + `[ ,=]*$`) // a shell may add what the next word needs
				var screen string
				if !engine.Await(func() bool {
					screen = tmux("capture-pane", "-p")
					return line.MatchString(screen)
				}) {
					t.Errorf("no %q in\n%s", want, screen)
				}
			}
			tmux("send-keys", "-l", c.setup+"; clear")
			tmux("send-keys", "Enter")
			await("")
			for before, after := range typed {
				tmux("send-keys", "-l", before)
				tmux("send-keys", "Tab")
				await(" " + after)
				tmux("send-keys", "C-u")
				tmux("send-keys", "C-l")
				await("")
			}
		})
	}
}

func TestCompletionsInFish(t *testing.T) {
	engine.Require(t, "fish")
	home := engine.TempDir(t)
	for before, after := range typed {
		script := fmt.Sprintf("source %s/packaging/completions/caplaunch.fish; complete -C '%s'", engine.Root, before)
		out := ok(t, "env", "-i", "PATH="+os.Getenv("PATH"), "HOME="+home, "fish", "--no-config", "-c", script)
		word := after[strings.LastIndex(after, " ")+1:]
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool { return strings.TrimSuffix(strings.Split(line, "\t")[0], "=") == word }) {
			t.Errorf("%q: no %q in %q", before, word, out)
		}
	}
}

// The manual page is what man reads, and names every flag of the help.
func TestManPageReads(t *testing.T) {
	engine.Require(t, "mandoc")
	page := filepath.Join(engine.Root, "packaging/caplaunch.1")
	ok(t, "mandoc", "-T", "lint", "-W", "warning", page)
	text := ok(t, "sh", "-c", `mandoc -T utf8 "$1" | sed 's/.\x08//g'`, "sh", page)
	for line := range strings.Lines(ok(t, binaries(t)["amd64"], "--help")) {
		if word, found := strings.CutPrefix(strings.TrimLeft(line, " -cuqvoh,"), "--"); found {
			name := strings.FieldsFunc(word, func(r rune) bool { return r == '=' || r == ' ' })[0]
			if !strings.Contains(text, "--"+name) {
				t.Errorf("no --%s", name)
			}
		}
	}
}
