//go:build !mips && !mipsle && !mips64 && !mips64le

package origin

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/unit"
)

func TestAnswersAreJudged(t *testing.T) {
	var a answers
	a.action[12][0] = sigIGN
	a.action[63][0] = sigIGN
	a.action[14][0] = 0x401000 // the runtime's handler
	a.mask = 1 << 9
	a.flags = [6]int{0, 0, -int(syscall.EBADF), -int(syscall.EBADF), syscall.FD_CLOEXEC, syscall.FD_CLOEXEC}
	want := process{ignored: SignalsOf(13, 64), blocked: SignalsOf(10), closed: [3]bool{false, true, true}}
	if got, err := a.process(); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestAnAnswerThatWasRefusedOrNotGivenIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*answers)
		want  CallError
	}{
		"sigaction refused":   {func(a *answers) { a.actionResult[63] = -int(syscall.EPERM) }, CallError{"rt_sigaction", 64, syscall.EPERM}},
		"sigaction faked":     {func(a *answers) { a.action[0][0] = noHandler }, CallError{"rt_sigaction", 1, ErrFaked}},
		"sigprocmask refused": {func(a *answers) { a.maskResult = -int(syscall.ENOSYS) }, CallError{"rt_sigprocmask", 0, syscall.ENOSYS}},
		"sigprocmask faked":   {func(a *answers) { a.mask = noMask }, CallError{"rt_sigprocmask", 0, ErrFaked}},
		"fcntl refused":       {func(a *answers) { a.flags[2] = -int(syscall.EPERM) }, CallError{"fcntl", 1, syscall.EPERM}},
		"fcntl faked":         {func(a *answers) { a.flags[5] = -int(syscall.EBADF) }, CallError{"fcntl", 2, ErrFaked}},
	} {
		var a answers
		c.spoil(&a)
		_, err := a.process()
		if failed, ok := errors.AsType[*CallError](err); !ok || *failed != c.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What Restore changes cannot be undone, so it is called in a process of its own.
func TestWithoutTheEntryNothingIsRecordedAndNothingChanges(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	if Recorded() || StdoutClosed() || Check() != nil {
		t.Error("a test binary does not start at the entry")
	}
	if !slices.Equal(Environ(), os.Environ()) {
		t.Errorf("%q", Environ())
	}
	usr1 := uint64(1 << 9)
	systemCall(syscall.SYS_RT_SIGPROCMASK, 0, uintptr(unsafe.Pointer(&usr1)), 0) // SIG_BLOCK
	ours = SignalsOf(12)                                                         // as of process 1
	Ignore(ours)
	before, err := current()
	unit.Must(t, err)
	before.ignored &^= ours
	for _, ignored := range []Signals{0, SignalsOf(13)} {
		unit.Must(t, Restore(ignored))
		before.ignored |= ignored
		if now, err := current(); err != nil || now != before {
			t.Errorf("got %v, %v; want %v", now, err, before)
		}
	}
}

func TestRestoreRefusesTheImpossible(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	var failed *CallError
	if err := Restore(SignalsOf(9)); !errors.As(err, &failed) || failed.Arg != 9 || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
}

// A filter answers for the kernel, and the mask stays as it was.
func TestRestoreFindsAMaskThatWasNotSet(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	initialStack = unsafe.Pointer(new(uintptr)) // as if the entry had run
	received = answers{mask: 1 << 9}
	usr2 := uint64(1 << 11)
	systemCall(syscall.SYS_RT_SIGPROCMASK, 0, uintptr(unsafe.Pointer(&usr2)), 0) // SIG_BLOCK
	const sigSetmask = 2
	unit.Answer(t, unix.SYS_RT_SIGPROCMASK, 0, sigSetmask)
	if e, ok := errors.AsType[*MismatchError](Restore(0)); !ok || e.want.blocked != 1<<9 || e.got.blocked != Signals(usr2) {
		t.Errorf("got %v", e)
	}
	unit.Answer(t, unix.SYS_RT_SIGACTION, 0)
	if _, err := current(); !errors.Is(err, ErrFaked) {
		t.Errorf("a disposition that nobody told: %v", err)
	}
}

// The signals of a fault are the runtime's, and so is the one that reaches all threads.
func TestNotEverySignalIsIgnored(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	Ignore(^Signals(0))
	now, err := current()
	if want := ^SignalsOf(9, 19, 33); err != nil || now.ignored != want {
		t.Errorf("%x, not %x, %v", now.ignored, want, err)
	}
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0); errno != 0 {
		t.Error(errno)
	}
}
