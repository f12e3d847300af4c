package security

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

// A held launch stands still in the midst of what it does: it tells each step to a pipe that is full.
type held struct {
	cmd    *exec.Cmd
	said   *os.File // to be read, so that it goes on
	stdout strings.Builder
}

// hold starts caplaunch, the last words of argv, and waits until it stands still.
func hold(t *testing.T, argv ...string) *held {
	t.Helper()
	r, w, err := os.Pipe()
	engine.Must(t, err)
	h := &held{cmd: exec.Command(argv[0], argv[1:]...), said: r}
	size, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	engine.Must(t, err)
	_, err = w.Write(make([]byte, size))
	engine.Must(t, err)
	h.cmd.Stderr, h.cmd.Stdout = w, &h.stdout
	engine.Must(t, h.cmd.Start())
	w.Close()
	return h
}

// launcher waits until caplaunch stands still, and gives what sends it a signal: to no other process, even when that has
// ended. It is the one that was started, or its only child.
func (h *held) launcher(t *testing.T, child bool) (send func(syscall.Signal)) {
	t.Helper()
	pid := 0
	if !engine.Await(func() bool { pid = h.writing(child); return pid != 0 }) {
		t.Fatal("it did not stand still")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	engine.Must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return func(signal syscall.Signal) { _ = unix.PidfdSendSignal(fd, signal, nil, 0) }
}

// writing is the process of caplaunch, or 0 until that writes.
func (h *held) writing(child bool) int {
	pid := strconv.Itoa(h.cmd.Process.Pid)
	if child {
		pid = strings.TrimSpace(engine.Content("/proc/" + pid + "/task/" + pid + "/children"))
	}
	// write(2) to descriptor 2, on the main thread.
	number, rest, _ := strings.Cut(engine.Content("/proc/"+pid+"/task/"+pid+"/syscall"), " ")
	if n, _ := strconv.Atoi(number); number == "" || n != unix.SYS_WRITE || !strings.HasPrefix(rest, "0x2 ") {
		return 0
	}
	n, _ := strconv.Atoi(pid)
	return n
}

// end lets it go on, calling between for each bit of what it says, and gives the exit status.
func (h *held) end(between func()) int {
	buf := make([]byte, 64)
	for {
		between()
		if _, err := h.said.Read(buf); err == io.EOF {
			break
		}
	}
	_ = h.cmd.Wait()
	h.said.Close()
	ws := h.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// As process 1 a program without handlers does not notice HUP, INT, QUIT and TERM. Neither does caplaunch, and the
// program then finds them as they were.
func TestSignalsDoNothingToProcess1DuringTheLaunch(t *testing.T) {
	engine.Begin(t, "unshare")
	random := unit.Rand(t)
	start := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	flags := []string{engine.Caplaunch(t), "-v", "-c", "net_admin", "-u", "65532:65532", "--", engine.Probe(t), "all"}
	const storms = 300
	for i := range storms {
		argv := slices.Concat(start, flags)
		ignored := ""
		switch {
		case i%10 == 1: // the build without an entry
			argv[len(start)] = engine.BuildGo(t, "cmd/caplaunch", "")
		case i%10 == 0: // one that is ignored stays so
			argv = slices.Concat(start, []string{engine.Capstart(t), "-I", "15", "--"}, flags)
			ignored = engine.Mask(1 << 14)
		}
		h := hold(t, argv...)
		send := h.launcher(t, true)
		order := random.Perm(4)
		n := 0
		code := h.end(func() {
			send([]syscall.Signal{1, 2, 3, 15}[order[n%4]])
			n++
		})
		r := engine.Result{Stdout: h.stdout.String(), Code: code}
		want := engine.Promised("65532", engine.NetAdmin).With("pid", "1", "ignored", engine.Mask(0), "blocked", engine.Mask(0))
		if ignored != "" {
			want["ignored"] = ignored
		}
		want.Want(t, r)
		if n < 20 {
			t.Errorf("only %d signals were sent", n)
		}
	}
}

// As any other process a launch ends by them, as a program would.
func TestSignalsEndALaunchThatIsNotProcess1(t *testing.T) {
	engine.Begin(t)
	for signal, status := range map[syscall.Signal]int{1: 129, 2: 130, 15: 143} {
		argv := []string{engine.Capstart(t), "--", engine.Caplaunch(t), "-v", "-u", "65532:65532", "--", engine.Probe(t), "all"}
		h := hold(t, argv...)
		h.launcher(t, false)(signal)
		if code := h.end(func() {}); code != status || h.stdout.Len() > 0 {
			t.Errorf("%v: exit status %d, %q", signal, code, h.stdout.String())
		}
	}
}

// But for those that were ignored at its start: they do nothing to it, from main on, and stay ignored.
func TestSignalsThatWereIgnoredDoNothingDuringTheLaunch(t *testing.T) {
	engine.Begin(t)
	ignored, mask := []syscall.Signal{1, 2, 3, 10, 12, 13, 14, 15, 17, 24, 35, 64}, uint64(0)
	argv := []string{engine.Capstart(t)}
	for _, signal := range ignored {
		argv = append(argv, "-I", strconv.Itoa(int(signal)))
		mask |= 1 << (signal - 1)
	}
	argv = append(argv, "--", engine.Caplaunch(t), "-v", "-u", "65532:65532", "--", engine.Probe(t), "all")
	for first := range ignored {
		h := hold(t, argv...)
		send := h.launcher(t, false)
		n := first
		code := h.end(func() {
			send(ignored[n%len(ignored)])
			n++
		})
		engine.Promised("65532", 0).With("ignored", engine.Mask(mask), "blocked", engine.Mask(0)).Want(t, engine.Result{Stdout: h.stdout.String(), Code: code})
	}
}

// asRoot starts a program as the root of a user namespace that is somebody else outside, so that no queue but that
// user's is filled.
func asRoot(t testing.TB, outside int) []string {
	ids, m := fmt.Sprintf("%[1]d,%[1]d,%[1]d", outside), fmt.Sprintf("0 %d 100", outside)
	return []string{engine.Starter(t, "userns"), "-u", ids, "-g", ids, "-G", "none", "-m", m, "-n", m, "--"}
}

// The queue of signals is one for all processes of a user, in every container. A process without any capability can fill
// it. A launch needs no signal.
func TestAFullQueueOfSignalsStopsNoLaunch(t *testing.T) {
	engine.Begin(t)
	fill := engine.Starter(t, "fill")
	for n, flags := range []string{"-c net_admin -u 5:5", "-c net_admin -u 0:0", "-c net_admin,net_raw -u 5:5 --bounding=drop", "-u 5:5 --strip-file-caps"} {
		for _, who := range [][]string{nil, {"-u", "5"}} { // of the old user, and of the new one
			start := slices.Concat(asRoot(t, 77000+1000*n), []string{fill}, who, []string{"--"})
			r := engine.Exec(t, slices.Concat(start, []string{engine.Caplaunch(t)}, strings.Fields(flags), []string{"--", engine.Probe(t)})...)
			if r.Code != 0 || engine.ParseProbe(r.Stdout)["NoNewPrivs"] != "1" {
				t.Errorf("%s, the queue of %v is full: %v", flags, who, r)
			}
		}
	}
}

// explain reaches every thread of its process by a signal. Where none can be queued it says so, and does not wait.
func TestExplainRefusesAFullQueueOfSignals(t *testing.T) {
	engine.Begin(t)
	const other = 78901
	for _, c := range []struct {
		start  []string
		filled []string // whose queue
		user   string
		told   string
	}{
		{asRoot(t, 87000), nil, "5:5", "uid 0"},
		{nil, []string{"-u", strconv.Itoa(other)}, fmt.Sprintf("%d:%[1]d", other), fmt.Sprintf("uid %d", other)}, // after the switch
	} {
		explain := []string{engine.Caplaunch(t), "explain", "-c", "net_admin", "-u", c.user, "--", engine.Probe(t)}
		r := engine.Exec(t, slices.Concat(c.start, []string{engine.Starter(t, "fill")}, c.filled, []string{"--"}, explain)...)
		if said := flat(r.Stdout); r.Code != engine.Failure || !strings.Contains(said, "no signal can be queued") ||
			!strings.Contains(said, "run needs none") || !strings.Contains(said, "the queue of "+c.told+" ") {
			t.Errorf("the queue of %s is full: %v", c.told, r)
		}
	}
}

// flat is text in one line, with single spaces.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
