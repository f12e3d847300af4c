package security

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// The runtime's poller takes two descriptors, and the process ends when there are none: nothing on the way of a launch, or
// of its refusal, may start it. (The runtime itself does where a standard descriptor is non-blocking, as pipes of package
// os are.)
func TestNothingStartsThePoller(t *testing.T) {
	engine.Begin(t, "strace", "prlimit")
	dir := t.TempDir()
	capable, script, locked := engine.WithCaps(t, "/bin/true", "cap_net_raw=+ep"), engine.Write(t, "script", "#!/not/here\n"), filepath.Join(dir, "locked")
	engine.Must(t, os.WriteFile(locked, []byte("#!/bin/sh\n"), 0o755))
	for _, line := range []string{
		"-u 0:0 -- /bin/true", "-u 0:0 -c chown -- " + capable, "-u 0:0 --strip-file-caps -- " + capable, "-u 0:0 -- " + script, "-u 0:0 -- " + dir, "-u 0:0 -- nothere",
		"-u 65532:65532 -- " + locked, "-u nosuchuser -- /bin/true", "-u nobody --keep-groups -- /bin/true", "-u 1234567 -- /bin/true", "-c 63 -u 0:0 -- /bin/true", "-- /bin/true",
		"--allow=none -u 0:0 -- /bin/true", "-u 0:0 -v -- /bin/true", "-o all -u 0:0 --bounding=try -- /bin/true", "explain -u 0:0 -- /bin/true", "explain -u 0:0 -- " + capable,
		"check --allow=all", "check --allow=none", "show", "show 1", "version",
	} {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		engine.Must(t, err)
		calls := out.Name() + ".calls"
		for _, front := range []string{
			"strace -f -qqq -o " + calls + " -b execve -e trace=epoll_create1,eventfd2 -e signal=none", "prlimit --nofile=6:6", "prlimit --nofile=7:7", "prlimit --nofile=8:8",
		} {
			words := slices.Concat(strings.Fields(front), []string{engine.Caplaunch(t)}, strings.Fields(line))
			cmd := exec.Command(words[0], words[1:]...)
			cmd.Stdout, cmd.Stderr = out, out
			_ = cmd.Run()
		}
		out.Close()
		if said := engine.Read(t, out.Name()); engine.Read(t, calls) != "" || strings.Contains(said, "runtime:") {
			t.Errorf("%s: %s\n%.300s", line, engine.Read(t, calls), said)
		}
	}
}

// waiting starts a program that goes on when it has said "ready", and gives its PID.
func waiting(t *testing.T, argv ...string) int {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	engine.Must(t, err)
	pid := engine.Background(t, cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	return pid
}

// check --pid looks at every thread: each has its own capabilities.
func TestCheckSeesEveryThread(t *testing.T) {
	engine.Begin(t)
	threads := engine.Starter(t, "threads")
	for who, want := range map[string]int{"main": engine.Unexpected, "other": engine.Unexpected, "both": engine.Unexpected, "none": 0} {
		argv := []string{threads, who}
		if who == "none" {
			argv = []string{engine.Capstart(t), "-u", "65532", "-g", "65532", "--", threads, "both"}
		}
		pid := waiting(t, argv...)
		if r := engine.Exec(t, engine.Caplaunch(t), "check", "--allow=none", "--pid", strconv.Itoa(pid)); r.Code != want || want != 0 && !strings.Contains(r.Stderr, " in permitted,effective") {
			t.Errorf("%s has capabilities: %v", who, r)
		}
		// A thread that cannot be read is no thread without capabilities.
		status := fmt.Sprintf("/proc/%d/task/%[1]d/status", pid)
		for _, when := range []string{"1+", "2+"} { // also not where it was read before: its number may have come again
			r := engine.Exec(t, "strace", "-qqq", "-o", os.DevNull, "-P", status, "-e", "inject=openat:error=EACCES:when="+when, engine.Caplaunch(t), "check", "--allow=none", "--pid", strconv.Itoa(pid))
			engine.Refused(t, r, engine.Failure)
		}
	}
}

// A thread that ends while check looks has left its capabilities to another one.
func TestCheckSeesAThreadThatIsNeverTheSame(t *testing.T) {
	engine.Begin(t, "strace")
	pid := waiting(t, engine.Starter(t, "threads"), "hop")
	// Whoever of them it lists has ended when it opens the status, and another one that it has read when it counts them.
	for range 3 {
		r := engine.Exec(t, "strace", "-qqq", "-o", os.DevNull, "-e", "inject=openat,newfstatat:delay_enter=5000", engine.Caplaunch(t), "check", "--allow=none", "--pid", strconv.Itoa(pid))
		if r.Code != engine.Failure && r.Code != engine.Unexpected {
			t.Fatalf("a process that always has capabilities passes: %v", r)
		}
	}
}

// A set-uid, set-gid or file-capability caplaunch does nothing for whoever calls it, whatever the command.
func TestAPrivilegedCaplaunchDoesNothing(t *testing.T) {
	engine.Begin(t, "setcap")
	secret := filepath.Join(engine.TempDir(t), "secret")
	probe := engine.Probe(t)
	for _, change := range []string{"chmod 4755", "chmod 2755", "setcap cap_dac_override=ep", "setcap cap_net_bind_service,cap_setuid,cap_setgid=ep", "setcap cap_net_admin=p", ""} {
		t.Run(change, func(t *testing.T) {
			path := engine.Copy(t, engine.Caplaunch(t), 0o755)
			if change != "" {
				engine.Do(t, append(strings.Fields(change), path)...)
			}
			run := func(words string) engine.Result {
				return engine.Start(t, strings.Fields("-u 65532 -g 65532 -G none"), append([]string{path}, strings.Fields(words)...)...)
			}
			for _, words := range []string{
				"-- " + probe, "-u 65532:65532 -- " + probe, "-u 0:0 -- " + probe, "explain -- " + probe, "explain --json -- " + probe, "explain --for=docker -c net_admin",
				"explain --for=kubernetes -c net_admin -- " + probe, "show", "show --json", "show 1", "check --allow=none", "check --allow=all --json", "check --allow=all --pid 1", "install " + secret,
			} {
				r := run(words)
				if plain := strings.HasPrefix(words, "explain -"); change != "" && plain && !strings.Contains(words, "--for") { // it explains even that
					if r.Code != engine.Failure || !strings.Contains(flat(r.Stdout), "to whoever calls it") || strings.Contains(r.Stdout, "setresuid") {
						t.Errorf("%s: %v", words, r)
					}
				} else if change != "" {
					l := engine.Failed(t, r, engine.Failure)
					if !strings.Contains(l.Msg, "to whoever calls it") || r.Stdout != "" {
						t.Errorf("%s: %v", words, r)
					}
				} else if strings.Contains(r.Stderr, "to whoever calls it") {
					t.Errorf("an honest caplaunch, %s: %v", words, r)
				}
			}
			if _, err := os.Stat(secret); err == nil {
				t.Error("it wrote where its caller may not")
			}
			for _, words := range []string{"version", "--version", "--help"} {
				if r := run(words); r.Code != 0 || r.Stdout == "" {
					t.Errorf("%s: %v", words, r)
				}
			}
			if change != "" { // what the hint says makes it usable
				hint, _, _ := strings.Cut(engine.Refused(t, run("-o net_admin -- "+probe), engine.Failure).Hint, " (")
				engine.Do(t, "sh", "-c", hint)
				engine.Promised("65532", 0).With("Groups", "").Want(t, run("-o net_admin -- "+probe))
			}
		})
	}
}

// A small stack with an environment that fills it: a launcher in C runs, and so does caplaunch.
func TestASmallStackWithALargeEnvironment(t *testing.T) {
	engine.Begin(t, "prlimit")
	inC := engine.Starter(t, "claunch")
	for _, stack := range []int{32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20} {
		for _, entries := range []int{10, 1000, 4000, 8000, 12000} {
			if stack < 64<<10 && entries > 10 {
				continue // the Go runtime wants 64 KiB for itself, and seldom uses all
			}
			for _, length := range []int{3, 30} {
				environ := []string{"PATH=/bin"}
				for i := range entries {
					environ = append(environ, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", length)))
				}
				run := func(argv ...string) engine.Result {
					cmd := exec.Command("prlimit", append([]string{fmt.Sprintf("--stack=%d:%d", stack, stack)}, argv...)...)
					cmd.Env = environ
					return engine.Command(t, cmd)
				}
				floor := run(inC, "65532", "65532", "1000", engine.Probe(t))
				ours := run(engine.Caplaunch(t), "-c", "net_admin", "-u", "65532:65532", "--", engine.Probe(t))
				if floor.Code == 0 {
					engine.Promised("65532", engine.NetAdmin).Want(t, ours)
				}
				if floor.Code != ours.Code {
					t.Errorf("stack %d, %d variables of %d bytes: exit status %d, in C %d", stack, entries, length, ours.Code, floor.Code)
				}
			}
		}
	}
}
