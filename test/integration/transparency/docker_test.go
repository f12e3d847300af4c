package transparency

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// debian is a Debian with caplaunch in it.
func debian(t testing.TB) (*engine.Docker, string) {
	t.Helper()
	d := engine.TheDocker(t)
	img := engine.Debian(t)
	img.Name = "caplaunch.test/debian:1"
	img.Files = map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/claunch": engine.File(engine.Starter(t, "claunch")), "/probe": engine.File(engine.Probe(t))}
	return d, d.Load(t, img)
}

// inShell is a shell script behind caplaunch, as an image's command.
func inShell(script string) []string {
	return []string{"/caplaunch", "--user=65532:65532", "--", "sh", "-c", script}
}

// What images do that log to files: the standard streams opened by name, after the switch.
const opens = `echo out >/dev/stdout && echo err >/dev/stderr && echo proc >/proc/self/fd/1 && echo both >>/dev/fd/2 && id -u`

var grants = map[string][]string{
	"with CHOWN":    nil, // one of Docker's default
	"without CHOWN": {"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID"},
}

func TestStandardStreamsCanBeOpenedInDocker(t *testing.T) {
	t.Parallel()
	d, img := debian(t)
	lines := func(s string) []string {
		l := strings.Fields(s)
		slices.Sort(l)
		return l
	}
	for grant, grantArgs := range grants {
		for name, args := range map[string][]string{
			"neither -i nor -t": nil, "-t": {"-t"}, "-i": {"-i"}, "--init": {"--init"}, "--log-driver json-file": {"--log-driver=json-file"}, "--read-only": {"--read-only", "--security-opt=no-new-privileges"},
		} {
			t.Run(name+" "+grant, func(t *testing.T) {
				t.Parallel()
				r := d.Run(t, img, slices.Concat(args, grantArgs), inShell(opens)...)
				out, err := []string{"65532", "out", "proc"}, []string{"both", "err"}
				if name == "-t" { // one stream
					out, err = append(slices.Clone(out), err...), nil
					slices.Sort(out)
				}
				if r.Code != 0 || !slices.Equal(lines(r.Stdout), out) || !slices.Equal(lines(r.Stderr), err) {
					t.Errorf("%v", r)
				}
			})
		}
		id := strings.TrimSpace(d.Cmd(t, slices.Concat([]string{"run", "-d", "--rm", "--network=none"}, grantArgs, []string{img, "sleep", "600"})...).Stdout)
		if r := d.Cmd(t, slices.Concat([]string{"exec", "-t", id}, inShell(opens))...); r.Code != 0 || !slices.Equal(lines(r.Stdout), []string{"65532", "both", "err", "out", "proc"}) {
			t.Errorf("exec -t %s: %v", grant, r)
		}
		d.Cmd(t, "rm", "-f", id)
		// And stdin.
		cmd := d.Command(slices.Concat([]string{"run", "--rm", "-i", "--network=none"}, grantArgs, []string{img}, inShell("cat /dev/stdin"))...)
		cmd.Stdin = strings.NewReader("in")
		if r := engine.Command(t, cmd); r.Stdout != "in" {
			t.Errorf("%s: stdin: %v", grant, r)
		}
	}
}

// The init leads the session, and the terminal is its own: documented.
func TestATerminalBehindAnInitIsNotHandedOver(t *testing.T) {
	t.Parallel()
	d, img := debian(t)
	if r := d.Run(t, img, []string{"-t", "--init"}, inShell(opens)...); r.Code == 0 || !strings.Contains(r.Stdout, "ermission denied") {
		t.Error(r)
	}
}

// The whole of what a program finds as PID 1 of a container, with the engine's seccomp filter.
func TestContainerProgramFindsWhatItFindsBehindC(t *testing.T) {
	t.Parallel()
	d, img := debian(t)
	grant := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=NET_ADMIN"}
	for name, args := range map[string][]string{"plain": nil, "with limits": {"--ulimit=nofile=500:600", "--ulimit=nproc=100", "--pids-limit=20", "--oom-score-adj=50", "--security-opt=no-new-privileges", "-e=GOMAXPROCS=x"}, "under an init": {"--init"}, "with a terminal": {"-t"}} {
		find := func(l launcher) string {
			dir := engine.TempDir(t)
			engine.Must(t, os.Chmod(dir, 0o777))
			r := d.Run(t, img, slices.Concat(args, grant, []string{"--hostname=h", "-v", dir + ":/out"}), append(l, "/probe", "mirror", "/out/mirror")...)
			report := engine.Content(dir + "/mirror")
			if r.Code != 0 || report == "" {
				t.Errorf("%s: %v: %v", name, l, r)
			}
			if name == "under an init" {
				report = digits(report, "pid") // whatever is free
			} else {
				has(t, report, "pid 1\n")
			}
			// Each container has namespaces, pipes and a cgroup of its own.
			if name == "with a terminal" { // so Ctrl-C and a resize come to it
				has(t, report, "terminal yes\n", "foreground self\n", "terminal_session self\n")
			}
			return digits(container.ReplaceAllString(report, "…"), "namespace", "keyring_session", "autogroup")
		}
		want := find(launcher{"/claunch", user, user, netAdmin})
		has(t, want, "seccomp 2\n", "status CapAmb 0000000000001000\n")
		equal(t, name, want, find(append(launcher{"/caplaunch"}, ask()...)), nil)
	}
}

var container = regexp.MustCompile(`file [0-9a-f]+:\d+|[0-9a-f]{64}`)
