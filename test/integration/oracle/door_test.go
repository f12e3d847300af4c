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
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
)

// A record is what the kernel says of one thing: of the start, of a step, and of the execve, where the state is that of
// the program. Without a program it has no state.
type record struct {
	Errno syscall.Errno
	State ambient.State
}

// A door makes a sequence by the calls of package linux. The error is the test's own, or a start that cannot be.
type door func(sequence) ([]record, error)

// oneThread makes it on a thread that ends with it.
func oneThread(q sequence) (all []record, err error) {
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: nothing else may have these credentials
		all, err = perform(linux.OneThread(), unix.RawSyscall6, q)
	}()
	<-done
	return all, err
}

// childEnv makes this binary the process in which allThreads makes a sequence.
const childEnv = "ORACLE_CHILD"

// A request is a sequence on its way to the child. A number is a step without arguments, of which gob takes none.
type request struct {
	Start ambient.State
	Steps []any
	Path  string
}

var bare = []ambient.Step{ambient.SetKeepCaps{}, ambient.SetNoNewPrivs{}}

func init() {
	for _, s := range []any{ambient.Capset{}, ambient.RaiseAmbient{}, ambient.DropBounding{}, ambient.SetGroups{}, ambient.SetResGID{}, ambient.SetResUID{}} {
		gob.Register(s)
	}
}

// allThreads makes it in a process of its own.
func allThreads(q sequence) (all []record, err error) {
	r := request{Start: q.Start, Path: q.Exec.Path}
	for _, s := range q.Steps {
		var step any = s
		for i, b := range bare {
			if s == b {
				step = i
			}
		}
		r.Steps = append(r.Steps, step)
	}
	var in, out, text bytes.Buffer
	if err := gob.NewEncoder(&in).Encode(r); err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{childEnv + "=1"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &text
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the child: %w: %s", err, text.String())
	}
	err = gob.NewDecoder(&out).Decode(&all)
	return all, err
}

// child never returns.
func child() {
	runtime.LockOSThread()
	var r request
	if err := gob.NewDecoder(os.Stdin).Decode(&r); err != nil {
		panic(err)
	}
	q := sequence{Start: r.Start, Exec: target{Path: r.Path}}
	for _, s := range r.Steps {
		if i, isBare := s.(int); isBare {
			s = bare[i]
		}
		q.Steps = append(q.Steps, s.(ambient.Step))
	}
	records, err := perform(linux.AllThreads(), psx.Syscall6, q)
	sameThreads()
	if err == nil {
		err = gob.NewEncoder(os.Stdout).Encode(records)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

type rawCall func(nr, a, b, c, d, e, f uintptr) (r1, r2 uintptr, err syscall.Errno)

// perform makes a sequence with the credentials of this thread, and a child of it the execve.
func perform(k linux.Kernel, call rawCall, q sequence) (all []record, err error) {
	if err := takeUp(k, call, q.Start); err != nil {
		return nil, fmt.Errorf("the starting state could not be taken up: %w", err)
	}
	say := func(err error) error {
		s, readErr := k.State()
		var errno syscall.Errno
		if readErr != nil || err != nil && !errors.As(err, &errno) {
			return errors.Join(readErr, err)
		}
		all = append(all, record{errno, s})
		return nil
	}
	err = say(nil)
	for _, s := range q.Steps {
		err = errors.Join(err, say(k.Do(s)))
	}
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(q.Exec.Path).Output()
	var last record
	if !errors.As(err, &last.Errno) {
		if err == nil {
			last.State, err = readReport(string(out))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %q", q.Exec.Path, err, out)
		}
	}
	return append(all, last), nil
}

// takeUp makes a starting state, with the powers of the user namespace's root. The uid is changed under no_setuid_fixup,
// which spares the capabilities; then everything that only root may, and the sets last.
func takeUp(k linux.Kernel, call rawCall, want ambient.State) error {
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

// readReport reads what report.c prints.
func readReport(text string) (s ambient.State, err error) {
	n, err := fmt.Sscan(text, &s.Permitted, &s.Inheritable, &s.Effective, &s.Bounding, &s.Ambient, &s.Securebits, &s.NoNewPrivs,
		&s.UID.Real, &s.UID.Effective, &s.UID.Saved, &s.GID.Real, &s.GID.Effective, &s.GID.Saved)
	if err != nil {
		return s, err
	}
	var groups []uint32
	for _, word := range strings.Fields(text)[n:] {
		g, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return s, err
		}
		groups = append(groups, uint32(g))
	}
	s.Groups = ambient.NewGroups(groups...)
	return s, nil
}

var credentials = regexp.MustCompile(`(?m)^(Uid|Gid|Groups|Cap...|NoNewPrivs):.*$`)

// sameThreads panics unless the threads of this process all have the same credentials: psx(3) is about that.
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
