package transparency

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestIgnoreSignalsIsWhatTheProgramStartsWith(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	p := newPlace(t)
	defer p.close()
	want, err := condition{stage: []string{"ignore=" + set(1, 13, 15, 33, 36, 64)}}.behind(t, p, inC(t))
	engine.Must(t, err)
	received := condition{stage: []string{"ignore=" + set(1, 64)}}
	for name, c := range map[string]struct {
		launcher launcher
		start    condition
	}{
		"names and numbers": {caplaunch(t, "--ignore-signals=PIPE,sigterm rtmin+2 33"), received},
		"repeated":          {caplaunch(t, "--ignore-signals=13", "--ignore-signals=TERM,36", "--ignore-signals=33"), received},
		"variable":          {caplaunch(t), condition{stage: received.stage, environ: []string{"PATH=/usr/bin:/bin", "HOME=/root", "CAPLAUNCH_IGNORE_SIGNALS=pipe,term,33,36"}}},
	} {
		got, err := c.start.behind(t, p, c.launcher)
		equal(t, name, want, got, err)
	}
}

func TestWhatCannotBeIgnoredIsRefused(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	for word, says := range map[string]string{
		"KILL": "signal KILL cannot be ignored", "9": "signal 9 cannot", "SIGSTOP": "signal SIGSTOP cannot",
		"19": "signal 19 cannot", "pipe,kill": "signal kill cannot", "PIEP": "did you mean pipe", "0": `"0"`,
		"65": `"65"`, "-1": `"-1"`, "rtmin+31": "rtmin+31", "nosuch": "nosuch",
	} {
		l := caplaunch(t, "--ignore-signals="+word)
		if l := engine.Refused(t, engine.Exec(t, append(l, "/bin/echo", "started")...), engine.Failure); !strings.Contains(l.Msg+l.Hint, says) {
			t.Errorf("%s: %+v", word, l)
		}
	}
}

// Built by plain go build, caplaunch does not know what was ignored. It says so, and --ignore-signals covers it.
func TestPlainBuildCoversSIGPIPEWithIgnoreSignals(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	plain := engine.BuildGo(t, "cmd/caplaunch", "")
	if r := engine.Exec(t, plain, "version", "--verbose"); !strings.Contains(r.Stdout, "--ignore-signals") {
		t.Errorf("it does not say so: %v", r)
	}
	pipe := condition{stage: []string{"ignore=" + set(13)}}
	p := newPlace(t)
	defer p.close()
	want, err := pipe.behind(t, p, inC(t))
	engine.Must(t, err)
	lost, err := pipe.behind(t, p, append(launcher{plain}, ask()...))
	engine.Must(t, err)
	has(t, lost, "ignored 0000000000000000\n")
	got, err := pipe.behind(t, p, append(launcher{plain}, ask("--ignore-signals=PIPE")...))
	equal(t, "caplaunch", want, got, err)
}

var (
	mainCall  = regexp.MustCompile(`^(\w+)\(`)
	ignoreSet = regexp.MustCompile(`^rt_sigaction\(SIGTERM, \{sa_handler=SIG_IGN`)
)

// A signal that is ignored at the start and comes during the launch: one of them at each call that caplaunch makes of
// the kernel, from its first own line on. It must neither end caplaunch nor change what the program gets.
func TestIgnoredSignalsDoNoHarmDuringTheLaunch(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	engine.Require(t, "strace")
	p := newPlace(t)
	defer p.close()
	c := condition{stage: []string{"ignore=" + set(1, 2, 3, 10, 12, 13, 14, 15, 17, 24, 35, 64)}}
	c.private = func(r string) string { return cut(r, "fd 2") } // strace has a word to say there
	want, err := c.behind(t, p, inC(t))
	engine.Must(t, err)
	strace := func(options ...string) launcher {
		// -D: the tracer is the grandchild, so that pid and parent are the same.
		return slices.Concat(launcher{"/usr/bin/strace", "-D", "-qqq", "-b", "execve"}, options, caplaunch(t))
	}
	trace := filepath.Join(engine.TempDir(t), "trace")
	if _, err := c.behind(t, p, strace("-o", trace)); err != nil {
		t.Fatal(err)
	}
	data := engine.Read(t, trace)
	type call struct {
		name string
		n    int
	}
	var calls []call
	counted, own := map[string]int{}, false
	for line := range strings.Lines(data) {
		m := mainCall.FindStringSubmatch(line)
		if m == nil || m[1] == "sched_yield" || m[1] == "futex" {
			continue // as often as other threads please
		}
		counted[m[1]]++
		if own {
			calls = append(calls, call{m[1], counted[m[1]]})
		}
		own = own || ignoreSet.MatchString(line)
	}
	if len(calls) < 50 {
		t.Fatalf("only %d calls: is SIGTERM not ignored early?\n%.3000s", len(calls), data)
	}
	t.Logf("%d calls", len(calls))
	last := calls[len(calls)-20:]
	engine.Rand(t).Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	for i, at := range append(calls[:20], last...) {
		signal := []string{"SIGTERM", "SIGUSR1", "SIGQUIT", "SIGPIPE", "SIGXCPU"}[i%5]
		inject := fmt.Sprintf("inject=%s:signal=%s:when=%d", at.name, signal, at.n)
		got, err := c.behind(t, p, strace("-o", os.DevNull, "-e", inject))
		equal(t, inject, want, got, err)
	}
}

// The parent-death signal is not only shown to the program: it comes.
func TestParentDeathSignalComesAfterTheLaunch(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	for _, l := range []launcher{inC(t), caplaunch(t)} {
		dir := engine.TempDir(t)
		engine.Must(t, os.Chmod(dir, 0o777))
		out := filepath.Join(dir, "out")
		argv := slices.Concat([]string{"orphan=" + out, "pdeathsig=12", "--"}, l, []string{engine.Probe(t), "await", out, "12"})
		cmd := exec.Command(engine.Starter(t, "stage"), argv...)
		if err := cmd.Run(); err != nil { // not its output: the orphan has that too
			t.Fatal(err)
		}
		if !engine.Await(func() bool { return read(out) == "ready\ngot 12\n" }) {
			t.Errorf("%v: %q", l, read(out))
		}
	}
}

// A parent that dies while the signal is away, because the ids change: caplaunch sends it in the kernel's place.
func TestParentDeathSignalComesDuringTheLaunch(t *testing.T) {
	t.Parallel()
	engine.RequireRoot(t)
	engine.Require(t, "strace")
	dir := engine.TempDir(t)
	engine.Must(t, os.Chmod(dir, 0o777))
	out, trace, end := filepath.Join(dir, "out"), filepath.Join(dir, "trace"), filepath.Join(dir, "end")
	// The change of the gid takes the signal away; that of the uid is held up for a second.
	argv := slices.Concat([]string{
		"orphan=" + end, "pdeathsig=9", "--", "/usr/bin/strace", "-D", "-qq", "-b", "execve", "-o", trace,
		"-e", "inject=setresuid:delay_enter=1000000",
	}, caplaunch(t), []string{engine.Probe(t), "mirror", out})
	cmd := exec.Command(engine.Starter(t, "stage"), argv...)
	engine.Must(t, cmd.Start())
	traced := func(word string) bool {
		return engine.Await(func() bool { return strings.Contains(read(trace), word) })
	}
	traced("setresgid(")
	engine.Must(t, os.WriteFile(end, nil, 0o644))
	engine.Must(t, cmd.Wait())
	if !traced("kill(") || !traced("+++ killed by SIGKILL") || read(out) != "" {
		t.Errorf("the signal was not sent:\n%s\n%.100s", tail(read(trace), 1500), read(out))
	}
}

func read(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
