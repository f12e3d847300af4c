//go:build linux

package linux

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

// TestOnlyAllThreadsNeedsAQueuedSignal, which others of the same user may prevent.
func TestOnlyAllThreadsNeedsAQueuedSignal(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	step := ambient.SetNoNewPrivs{}
	unit.Must(t, unix.Setrlimit(unix.RLIMIT_SIGPENDING, &unix.Rlimit{}))
	if err := AllThreads().Do(step); !errors.Is(err, ErrNoQueue) {
		t.Errorf("all threads: %v", err)
	}
	if s, err := AllThreads().State(); err != nil || s.NoNewPrivs {
		t.Errorf("it was done: %+v, %v", s, err)
	}
	unit.Must(t, OneThread().Do(step))
	if s, err := OneThread().State(); err != nil || !s.NoNewPrivs {
		t.Errorf("it was not done: %+v, %v", s, err)
	}
}

// TestTheQuestionAboutTheQueueLeavesNoTrace: no signal is pending, and the mask is as before.
func TestTheQuestionAboutTheQueueLeavesNoTrace(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	const probe = 1 << 63
	ask := func(call, how uintptr, set *uint64) (got uint64) {
		a, b := uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(&got))
		if call == unix.SYS_RT_SIGPENDING {
			how, a, b = b, 8, 0
		}
		if _, _, e := unix.RawSyscall6(call, how, a, b, 8, 0, 0); e != 0 {
			t.Fatal(e)
		}
		return got
	}
	for _, how := range []uintptr{unix.SIG_BLOCK, unix.SIG_UNBLOCK} {
		set := uint64(probe)
		ask(unix.SYS_RT_SIGPROCMASK, how, &set)
		before := ask(unix.SYS_RT_SIGPROCMASK, 0, nil)
		unit.Must(t, AllThreads().Do(ambient.SetNoNewPrivs{}))
		if after, pending := ask(unix.SYS_RT_SIGPROCMASK, 0, nil), ask(unix.SYS_RT_SIGPENDING, 0, nil); after != before || pending&probe != 0 {
			t.Errorf("mask %x, before %x, pending %x", after, before, pending)
		}
	}
}

// TestSetGroupsIsAskedOfWhoMayCallIt: the kernel refuses anybody else in any case.
func TestSetGroupsIsAskedOfWhoMayCallIt(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	err := OneThread().Do(ambient.Capset{})
	if _, h, startErr := OneThread().StateAndHost(); err != nil || startErr != nil || !h.SetGroups {
		t.Errorf("%+v, %v, %v", h, err, startErr)
	}
}

func TestTheDeathSignalIsSetAndRead(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	for _, want := range []int{15, 0} {
		err := OneThread().SetDeathSignal(want)
		if got, readErr := OneThread().DeathSignal(); err != nil || readErr != nil || got != want {
			t.Errorf("%d is %d, %v, %v", want, got, err, readErr)
		}
	}
}

// TestGroupsAreDoubtfulWhereNotEveryGIDIsMapped: an entry of the overflow gid may be another group there.
func TestGroupsAreDoubtfulWhereNotEveryGIDIsMapped(t *testing.T) {
	g := ambient.NewGroups(7, 65534)
	if !unit.Again(t, unix.CLONE_NEWUSER) {
		if b, err := os.ReadFile("/proc/self/gid_map"); err == nil && strings.Join(strings.Fields(string(b)), " ") == "0 0 4294967295" && Doubtful(g) != "" {
			t.Errorf("%v of %v where every gid is mapped", Doubtful(g), g)
		}
		return
	}
	sysctl := filepath.Join(t.TempDir(), "overflowgid")
	for content, want := range map[string]uint32{"65534\n": 65534, "7\n": 7, "x": 65534} {
		unit.Must(t, os.WriteFile(sysctl, []byte(content), 0o644))
		unit.Must(t, unix.Mount(sysctl, "/proc/sys/kernel/overflowgid", "", unix.MS_BIND, ""))
		if got, none := Doubtful(g), Doubtful(ambient.NewGroups(5)); got != ambient.NewGroups(want) || none != "" {
			t.Errorf("%v of %v, and %v of 5; the sysctl is %q", got, g, none, content)
		}
		unit.Must(t, unix.Unmount("/proc/sys/kernel/overflowgid", 0))
	}
}

// TestAHiddenProcessIsNotDumpable, and says so itself.
func TestAHiddenProcessIsNotDumpable(t *testing.T) {
	if !unit.Again(t, 0) {
		return
	}
	err := OneThread().Hide()
	now, errno := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || errno != nil || now != 0 {
		t.Errorf("%d, %v, %v", now, err, errno)
	}
}

func TestAReadOrAStepThatFailsIsAnError(t *testing.T) {
	unit.Root(t)
	if err := OneThread().Do(nil); err != unix.ENOSYS {
		t.Error(err)
	}
	unit.Someone.As(t, func() {
		unit.Answer(t, unix.SYS_READ, unix.EIO)
		if _, err := ReadFile("/proc/self/status"); err != unix.EIO {
			t.Error(err)
		}
	})
}

func TestWithoutProcThereIsNone(t *testing.T) {
	if !unit.Again(t, unix.CLONE_NEWNS) {
		return
	}
	if !HasProc() {
		t.Error("there is one")
	}
	// What an image has under that name says nothing.
	dir := t.TempDir()
	unit.Shell(t, dir, "mkdir -p proc/self proc/sys/kernel; printf '0 0 4294967295' > proc/self/gid_map; printf 5 > proc/sys/kernel/overflowgid")
	unit.Must(t, unix.Chroot(dir))
	if groups := ambient.NewGroups(5, 65534); HasProc() || MapsAll("/proc/self/gid_map") || Doubtful(groups) != ambient.NewGroups(65534) {
		t.Errorf("there is none: %v, %v", HasProc(), Doubtful(groups))
	}
	unit.Must(t, os.RemoveAll("/proc"))
	if HasProc() {
		t.Error("there is not even a folder")
	}
}
