//go:build linux

package oracle

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
)

// A door of package linux makes each sequence in a process of its own: this test
// binary, which becomes goChild.
type door string

const (
	oneThread  door = "linux.OneThread"
	allThreads door = "linux.AllThreads"
)

func (d door) close() {}

func (d door) run(batch []sequence) ([][]record, error) {
	var all [][]record
	for _, q := range batch {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{goChildEnv + "=" + string(d)}
		request := goRequest{Start: q.Start, Path: q.Exec.Path}
		for _, s := range q.Steps {
			request.Steps = append(request.Steps, words(s))
		}
		var in, out, text bytes.Buffer
		if err := gob.NewEncoder(&in).Encode(request); err != nil {
			return nil, err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &text
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("the Go child: %w: %s", err, text.String())
		}
		out.Write(putRecord(nil, record{Kind: ended}))
		records, err := readAnswer(&out)
		if err != nil {
			return nil, err
		}
		all = append(all, records)
	}
	return all, nil
}

// goChild is executor.c's run in Go. It never returns.
func goChild(d door) {
	runtime.LockOSThread()
	kernel, call := linux.OneThread(), unix.RawSyscall6
	if d == allThreads {
		kernel, call = linux.AllThreads(), psx.Syscall6
	}
	var request goRequest
	if err := gob.NewDecoder(os.Stdin).Decode(&request); err != nil {
		panic(err)
	}
	var b []byte
	say := func(k kind, err error) {
		s, readErr := kernel.State()
		var errno syscall.Errno
		if readErr != nil || err != nil && !errors.As(err, &errno) {
			panic(errors.Join(readErr, err))
		}
		b = putRecord(b, record{Kind: k, Errno: uint32(errno), State: s})
	}
	flush := func() {
		if _, err := os.Stdout.Write(b); err != nil {
			panic(err)
		}
		b = nil
	}
	if err := takeUp(kernel, call, request.Start); err != nil {
		say(unready, err)
		flush()
		os.Exit(0)
	}
	say(started, nil)
	for _, w := range request.Steps {
		say(stepped, kernel.Do(step(w)))
	}
	if d == allThreads {
		sameThreads()
	}
	flush()
	say(refused, syscall.Exec(request.Path, []string{request.Path}, nil))
	flush()
	os.Exit(0)
}

// takeUp is executor.c's start.
func takeUp(k linux.Kernel, call func(nr, a, b, c, d, e, f uintptr) (r1, r2 uintptr, err syscall.Errno), want ambient.State) error {
	now, err := k.State()
	if err != nil {
		return err
	}
	prctl := func(op, a uintptr) {
		if _, _, e := call(unix.SYS_PRCTL, op, a, 0, 0, 0, 0); e != 0 && err == nil {
			err = fmt.Errorf("prctl %d %d: %w", op, a, e)
		}
	}
	do := func(s ambient.Step) {
		if e := k.Do(s); e != nil && err == nil {
			err = fmt.Errorf("%v: %w", s, e)
		}
	}
	prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
	prctl(unix.PR_SET_SECUREBITS, uintptr(ambient.NoSetuidFixup))
	if now.Groups != want.Groups {
		do(ambient.SetGroups{Groups: want.Groups})
	}
	do(ambient.SetResGID{To: want.GID})
	do(ambient.SetResUID{To: want.UID})
	do(ambient.Capset{Permitted: now.Permitted, Inheritable: want.Inheritable, Effective: now.Permitted})
	for c := range want.Ambient.All() {
		do(ambient.RaiseAmbient{Cap: c})
	}
	for c := range (now.Bounding &^ want.Bounding).All() {
		do(ambient.DropBounding{Cap: c})
	}
	prctl(unix.PR_SET_SECUREBITS, uintptr(want.Securebits))
	do(ambient.Capset{Permitted: want.Permitted, Inheritable: want.Inheritable, Effective: want.Effective})
	if want.NoNewPrivs {
		do(ambient.SetNoNewPrivs{})
	}
	return err
}

var credentials = regexp.MustCompile(`(?m)^(Uid|Gid|Groups|Cap...|NoNewPrivs):.*$`)

// sameThreads panics unless the threads of this process all have the same
// credentials: psx(3) is about that.
func sameThreads() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		panic(err)
	}
	first := ""
	for _, task := range tasks {
		text, err := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		if errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		has := fmt.Sprintf("%q", credentials.FindAll(text, -1))
		if first == "" {
			first = has
		}
		if err != nil || has != first {
			panic(fmt.Sprintf("thread %s has %s, another %s: %v", task.Name(), has, first, err))
		}
	}
}

// byDoor runs -doors sequences through a door.
func byDoor(t *testing.T, d door) {
	for _, in := range []struct {
		w       world
		percent int
	}{{machine, 70}, {manyIDs, 30}} {
		t.Run(in.w.name, func(t *testing.T) {
			inWorld(t, in.w, string(d), *doors*in.percent/100, func(place) (backend, error) { return d, nil })
		})
	}
}

func TestModelAgreesThroughOneThread(t *testing.T)  { byDoor(t, oneThread) }
func TestModelAgreesThroughAllThreads(t *testing.T) { byDoor(t, allThreads) }

// TestMoreGroupsThanNGROUPS_MAXAreRefused has what random sequences meet once
// in thousands.
func TestMoreGroupsThanNGROUPS_MAXAreRefused(t *testing.T) {
	machine.in(t, func(t *testing.T, p place) {
		ids := make([]uint32, ambient.MaxGroups+1)
		for i := range ids {
			ids[i] = 10000 + uint32(i)
		}
		p.gen.fixed = &sequence{Start: p.gen.limit, Exec: p.gen.plain[0], Steps: []ambient.Step{
			ambient.SetGroups{Groups: ambient.NewGroups(ids...)},
			ambient.SetGroups{Groups: ambient.NewGroups(ids[1:]...)},
		}}
		agree(t, p, 1, func() (backend, error) { return oneThread, nil })
	})
}
