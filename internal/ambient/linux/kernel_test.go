//go:build linux

package linux

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// asChild runs a test again as a process of its own, and is true there.
func asChild(t *testing.T, attr *syscall.SysProcAttr) bool {
	const childEnv = "LINUX_TEST_CHILD"
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread()
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // what psx cannot reach it waits for, for ever
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env, cmd.SysProcAttr = append(os.Environ(), childEnv+"=1"), attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// TestOnlyAllThreadsNeedsAQueuedSignal, which others of the same user may prevent.
func TestOnlyAllThreadsNeedsAQueuedSignal(t *testing.T) {
	if !asChild(t, nil) {
		return
	}
	step := ambient.SetNoNewPrivs{}
	if err := unix.Setrlimit(unix.RLIMIT_SIGPENDING, &unix.Rlimit{}); err != nil {
		t.Fatal(err)
	}
	if err := AllThreads().Do(step); !errors.Is(err, ErrNoQueue) {
		t.Errorf("all threads: %v", err)
	}
	if s, err := AllThreads().State(); err != nil || s.NoNewPrivs {
		t.Errorf("it was done: %+v, %v", s, err)
	}
	if err := OneThread().Do(step); err != nil {
		t.Errorf("one thread: %v", err)
	}
	if s, err := OneThread().State(); err != nil || !s.NoNewPrivs {
		t.Errorf("it was not done: %+v, %v", s, err)
	}
}

// TestTheQuestionAboutTheQueueLeavesNoTrace: no signal is pending, and the mask is as before.
func TestTheQuestionAboutTheQueueLeavesNoTrace(t *testing.T) {
	if !asChild(t, nil) {
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
		if err := AllThreads().Do(ambient.SetNoNewPrivs{}); err != nil {
			t.Fatal(err)
		}
		if after, pending := ask(unix.SYS_RT_SIGPROCMASK, 0, nil), ask(unix.SYS_RT_SIGPENDING, 0, nil); after != before || pending&probe != 0 {
			t.Errorf("mask %x, before %x, pending %x", after, before, pending)
		}
	}
}

// TestSetGroupsIsAskedOfWhoMayCallIt: the kernel refuses anybody else in any case.
func TestSetGroupsIsAskedOfWhoMayCallIt(t *testing.T) {
	if !asChild(t, nil) {
		return
	}
	err := OneThread().Do(ambient.Capset{})
	if _, h, startErr := OneThread().StateAndHost(); err != nil || startErr != nil || !h.SetGroups {
		t.Errorf("%+v, %v, %v", h, err, startErr)
	}
}

func TestTheDeathSignalIsSetAndRead(t *testing.T) {
	if !asChild(t, nil) {
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
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	gids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	if !asChild(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: gids}) {
		if b, err := os.ReadFile("/proc/self/gid_map"); err == nil && strings.Join(strings.Fields(string(b)), " ") == "0 0 4294967295" && Doubtful(g) != "" {
			t.Errorf("%v of %v where every gid is mapped", Doubtful(g), g)
		}
		return
	}
	sysctl := filepath.Join(t.TempDir(), "overflowgid")
	for _, c := range []struct {
		content string
		want    uint32
	}{{"65534\n", 65534}, {"7\n", 7}, {"x", 65534}} {
		if err := errors.Join(os.WriteFile(sysctl, []byte(c.content), 0o644), unix.Mount(sysctl, "/proc/sys/kernel/overflowgid", "", unix.MS_BIND, "")); err != nil {
			t.Fatal(err)
		}
		if got := Doubtful(g); got != ambient.NewGroups(c.want) {
			t.Errorf("%v of %v, the sysctl is %q", got, g, c.content)
		}
		if got := Doubtful(ambient.NewGroups(5)); got != "" {
			t.Errorf("%v of 5", got)
		}
		if err := unix.Unmount("/proc/sys/kernel/overflowgid", 0); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAHiddenProcessIsNotDumpable, and says so itself.
func TestAHiddenProcessIsNotDumpable(t *testing.T) {
	if !asChild(t, nil) {
		return
	}
	err := OneThread().Hide()
	now, errno := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || errno != nil || now != 0 {
		t.Errorf("%d, %v, %v", now, err, errno)
	}
}
