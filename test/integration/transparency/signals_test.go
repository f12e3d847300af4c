package transparency

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestIgnoreSignalsIsWhatTheProgramStartsWith(t *testing.T) {
	engine.Begin(t)
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

// Built by plain go build, caplaunch does not know what was ignored. It says so, and --ignore-signals covers it.
func TestPlainBuildCoversSIGPIPEWithIgnoreSignals(t *testing.T) {
	engine.Begin(t)
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

// The parent-death signal is not only shown to the program: it comes.
func TestParentDeathSignalComesAfterTheLaunch(t *testing.T) {
	engine.Begin(t)
	for _, l := range []launcher{inC(t), caplaunch(t)} {
		dir := engine.TempDir(t)
		engine.Must(t, os.Chmod(dir, 0o777))
		out := filepath.Join(dir, "out")
		argv := slices.Concat([]string{"orphan=" + out, "pdeathsig=12", "--"}, l, []string{engine.Probe(t), "await", out, "12"})
		cmd := exec.Command(engine.Starter(t, "stage"), argv...)
		if err := cmd.Run(); err != nil { // not its output: the orphan has that too
			t.Fatal(err)
		}
		if !engine.Await(func() bool { return engine.Content(out) == "ready\ngot 12\n" }) {
			t.Errorf("%v: %q", l, engine.Content(out))
		}
	}
}

// A parent that dies while the signal is away, because the ids change: caplaunch sends it in the kernel's place, and ends
// also where the Go runtime would live on with it.
func TestParentDeathSignalComesDuringTheLaunch(t *testing.T) {
	engine.Begin(t, "strace")
	for signal, ended := range map[string]string{"9": "+++ killed by SIGKILL", "12": "exit_group(125)"} {
		t.Run(signal, func(t *testing.T) { dies(t, signal, ended) })
	}
}

func dies(t *testing.T, signal, ended string) {
	dir := engine.TempDir(t)
	engine.Must(t, os.Chmod(dir, 0o777))
	out, trace, end := filepath.Join(dir, "out"), filepath.Join(dir, "trace"), filepath.Join(dir, "end")
	// The change of the gid takes the signal away; that of the uid is held up for a second.
	argv := slices.Concat([]string{
		"orphan=" + end, "pdeathsig=" + signal, "--", "/usr/bin/strace", "-D", "-qq", "-b", "execve", "-o", trace,
		"-e", "inject=setresuid:delay_enter=1000000",
	}, caplaunch(t), []string{engine.Probe(t), "mirror", out})
	cmd := exec.Command(engine.Starter(t, "stage"), argv...)
	engine.Must(t, cmd.Start())
	traced := func(word string) bool {
		return engine.Await(func() bool { return strings.Contains(engine.Content(trace), word) })
	}
	traced("setresgid(")
	engine.Must(t, os.WriteFile(end, nil, 0o644))
	engine.Must(t, cmd.Wait())
	if !traced("kill(") || !traced(ended) || engine.Content(out) != "" {
		t.Errorf("the signal was not sent:\n%s\n%.100s", tail(engine.Content(trace), 1500), engine.Content(out))
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
