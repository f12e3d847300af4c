//go:build linux

package oracle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
)

// goBackend makes each sequence with the project's own linux.Kernel, in a
// process of its own: this test binary, which becomes goChild.
type goBackend struct{}

func (goBackend) close() {}

func (goBackend) run(batch []sequence) ([][]record, error) {
	var all [][]record
	for _, q := range batch {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{goChildEnv + "=1"}
		cmd.Stdin = bytes.NewReader(appendRequest(nil, q))
		var out, text bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &text
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("the Go child: %w: %s", err, text.String())
		}
		out.Write(appendRecord(nil, record{Kind: ended}))
		records, err := readAnswer(bufio.NewReader(&out))
		if err != nil {
			return nil, err
		}
		all = append(all, records)
	}
	return all, nil
}

// goChild is executor.c's run in Go. It never returns.
func goChild() {
	runtime.LockOSThread()
	start, steps, path, err := readRequest(os.Stdin)
	if err != nil {
		panic(err)
	}
	var b []byte
	say := func(k kind, errno syscall.Errno) {
		s, err := linux.Kernel{}.State()
		if err != nil {
			panic(err)
		}
		b = appendRecord(b, record{Kind: k, Errno: uint32(errno), State: s})
	}
	flush := func() {
		if _, err := os.Stdout.Write(b); err != nil {
			panic(err)
		}
		b = nil
	}
	if err := takeUp(start); err != nil {
		b = appendRecord(b, record{Kind: unready, Errno: uint32(linux.Errno(err))})
		flush()
		os.Exit(0)
	}
	say(started, 0)
	for _, s := range steps {
		say(stepped, linux.Errno(s.Do(linux.Kernel{})))
	}
	everyThread(b)
	flush()
	err = syscall.Exec(path, []string{path}, nil)
	say(refused, linux.Errno(err))
	flush()
	os.Exit(0)
}

// takeUp is executor.c's start, on all threads.
func takeUp(want ambient.State) error {
	k := linux.Kernel{}
	now, err := k.State()
	if err != nil {
		return err
	}
	prctl := func(op, a, b uintptr) error {
		if _, _, e := psx.Syscall6(unix.SYS_PRCTL, op, a, b, 0, 0, 0); e != 0 {
			return fmt.Errorf("prctl %d %d %d: %w", op, a, b, e)
		}
		return nil
	}
	const noSetuidFixup = 1 << 2
	if err := errors.Join(
		prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0),
		prctl(unix.PR_SET_SECUREBITS, noSetuidFixup, 0),
	); err != nil {
		return err
	}
	if now.Groups != want.Groups {
		ids := want.Groups.IDs()
		if _, _, e := psx.Syscall3(unix.SYS_SETGROUPS, uintptr(len(ids)), uintptr(unsafe.Pointer(unsafe.SliceData(ids))), 0); e != 0 {
			return e
		}
		runtime.KeepAlive(ids)
	}
	err = errors.Join(k.SetResGID(want.GID), k.SetResUID(want.UID), k.Capset(now.Permitted, want.Inheritable, now.Permitted))
	for c := range want.Ambient.All() {
		err = errors.Join(err, k.RaiseAmbient(c))
	}
	for c := range (now.Bounding &^ want.Bounding).All() {
		err = errors.Join(err, k.DropBounding(c))
	}
	err = errors.Join(err, prctl(unix.PR_SET_SECUREBITS, uintptr(want.Securebits), 0), k.Capset(want.Permitted, want.Inheritable, want.Effective))
	if want.NoNewPrivs {
		err = errors.Join(err, k.SetNoNewPrivs())
	}
	return err
}

// everyThread panics unless the threads of this process all have the
// credentials that the last record has: psx(3) is about that.
func everyThread(records []byte) {
	r := bufio.NewReader(bytes.NewReader(records))
	var last record
	for {
		rec, err := readRecord(r)
		if err != nil {
			break
		}
		last = rec
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		panic(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		s, err := ambient.ParseStatus(string(text))
		if err != nil {
			panic(err)
		}
		s.Securebits = last.State.Securebits // not in it
		if s != last.State {
			panic(fmt.Sprintf("thread %s: %v", task.Name(), ambient.Diff(last.State, s)))
		}
	}
}

// byGoKernel runs sequences of the Go kernel in w.
func byGoKernel(t *testing.T, w world, percent int) {
	f := w.in(t, func(t *testing.T, p place) figures {
		p.gen.few = true
		return agree(t, p, share(percent), func() (backend, error) { return goBackend{}, nil })
	})
	if os.Getenv(insideEnv) == "" {
		f.enough(t, w)
		t.Logf("-seed=%d, linux.Kernel, %s: %v", theSeed(), w.name, f)
		total.add(f)
	}
}

func TestModelAgreesWithLinuxKernelAsRoot(t *testing.T)           { byGoKernel(t, machine, 3) }
func TestModelAgreesWithLinuxKernelInAUserNamespace(t *testing.T) { byGoKernel(t, manyIDs, 2) }

// TestMoreGroupsThanNGROUPS_MAXAreRefused has what random sequences meet once
// in thousands.
func TestMoreGroupsThanNGROUPS_MAXAreRefused(t *testing.T) {
	machine.in(t, func(t *testing.T, p place) figures {
		ids := make([]uint32, ambient.MaxGroups+1)
		for i := range ids {
			ids[i] = 10000 + uint32(i)
		}
		p.gen.fixed = &sequence{Start: p.gen.limit, Exec: p.gen.plain[0], Steps: []ambient.Step{
			ambient.SetGroups{Groups: ambient.NewGroups(ids...)},
			ambient.SetGroups{Groups: ambient.NewGroups(ids[1:]...)},
		}}
		return agree(t, p, 1, func() (backend, error) { return goBackend{}, nil })
	})
}
