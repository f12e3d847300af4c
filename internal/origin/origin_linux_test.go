//go:build !mips && !mipsle && !mips64 && !mips64le

package origin

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
)

// fresh is what a process with nothing ignored, blocked or closed answers.
func fresh() *answers { return &answers{} }

func TestAnswersAreJudged(t *testing.T) {
	a := fresh()
	a.action[12][0] = sigIGN
	a.action[63][0] = sigIGN
	a.action[14][0] = 0x401000 // the runtime's handler
	a.mask = 1 << 9
	a.fileResult[1] = -int(syscall.EBADF)
	want := Process{Ignored: set(13, 64), Blocked: set(10), Closed: [3]bool{false, true, false}}
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
		"sigaction faked":     {func(a *answers) { a.action[0][0] = noHandler }, CallError{"rt_sigaction", 1, ErrNoAnswer}},
		"sigprocmask refused": {func(a *answers) { a.maskResult = -int(syscall.ENOSYS) }, CallError{"rt_sigprocmask", 0, syscall.ENOSYS}},
		"sigprocmask faked":   {func(a *answers) { a.mask = noMask }, CallError{"rt_sigprocmask", 0, ErrNoAnswer}},
		"fstat refused":       {func(a *answers) { a.fileResult[1] = -int(syscall.EPERM) }, CallError{"fstat", 1, syscall.EPERM}},
		"fstat faked":         {func(a *answers) { a.file[2][0] = noDevice }, CallError{"fstat", 2, ErrNoAnswer}},
	} {
		a := fresh()
		c.spoil(a)
		p, err := a.process()
		var failed *CallError
		if !errors.As(err, &failed) || *failed != c.want || p != (Process{}) {
			t.Errorf("%s: got %v, %v", name, p, err)
		}
	}
}

func TestWithoutTheEntryNothingIsRecordedAndNothingChanges(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if Recorded() {
		t.Fatal("a test binary does not start at the entry")
	}
	p, err := Received()
	if !errors.Is(err, ErrNoEntry) {
		t.Fatal(err)
	}
	if err := Restore(p); err != nil {
		t.Error(err)
	}
	if now, err := current(); err != nil || now != p {
		t.Errorf("got %v, %v; want %v", now, err, p)
	}
}

func TestRestoreRefusesToCloseAForeignFile(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, _ := Received()
	if p.Closed[1] {
		t.Skip("stdout is closed")
	}
	p.Closed[1] = true // stdout of a test is a pipe
	var foreign *ForeignFileError
	if err := Restore(p); !errors.As(err, &foreign) || foreign.FD != 1 {
		t.Errorf("got %v", err)
	}
}

func TestRestoreRefusesTheImpossible(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, _ := Received()
	p.Ignored |= set(sigkill)
	var failed *CallError
	if err := Restore(p); !errors.As(err, &failed) || failed.Arg != sigkill || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
	// The kernel drops KILL from a mask in silence; reading back finds it.
	p, _ = Received()
	p.Blocked |= set(sigkill)
	var differs *MismatchError
	if err := Restore(p); !errors.As(err, &differs) || differs.Got.Blocked.Has(sigkill) {
		t.Errorf("got %v", err)
	}
}
