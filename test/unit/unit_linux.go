package unit

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A User has groups and effective capabilities.
type User struct {
	UID, GID uint32
	Groups   []uint32
	Caps     uint64
}

// Someone is a user who is nobody and has nothing.
var Someone = User{UID: 4711, GID: 4711}

// As runs do as the user, on a thread that ends with it.
func (u User) As(t testing.TB, do func()) {
	t.Helper()
	groups := append(u.Groups[:len(u.Groups):len(u.Groups)], 0)
	setgroups := uintptr(unix.SYS_SETGROUPS)
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		setgroups = 206 // setgroups32
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for _, call := range [][4]uintptr{
			{setgroups, uintptr(len(u.Groups)), uintptr(unsafe.Pointer(&groups[0]))},
			{unix.SYS_SETRESGID, uintptr(u.GID), uintptr(u.GID), uintptr(u.GID)},
			{unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1},
			{unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID)},
		} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
				t.Error(errno)
			}
		}
		caps := [2]unix.CapUserData{
			{Permitted: uint32(u.Caps), Effective: uint32(u.Caps)}, {Permitted: uint32(u.Caps >> 32), Effective: uint32(u.Caps >> 32)},
		}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]); err != nil {
			t.Error(err)
		}
		do()
	}()
	<-done
}

// Again runs the test again, in a process and in namespaces of its own, and reports whether it already is there, on a
// thread of its own. Who is not root gets a user namespace, too.
func Again(t *testing.T, namespaces uintptr) bool {
	t.Helper()
	if os.Getenv(again) == t.Name() {
		runtime.LockOSThread()
		if namespaces != 0 {
			Must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		}
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second) // what psx cannot reach it waits for, for ever
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), again+"="+t.Name())
	if namespaces != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | namespaces}
		if os.Geteuid() != 0 || namespaces&unix.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) && cmd.ProcessState == nil {
		Need(t, false, "mount namespaces")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Fatalf("started again: %v\n%s", err, out)
	}
	return false
}

// Answer lets a filter answer a call of this thread in the place of the kernel, by an errno or by 0, which is success:
// where the first arguments are args.
func Answer(t testing.TB, call uint32, errno syscall.Errno, args ...uint32) {
	t.Helper()
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET
	filter := []unix.SockFilter{{Code: load}, {Code: equal, K: call, Jf: uint8(2*len(args) + 1)}}
	for i, a := range args {
		filter = append(filter, unix.SockFilter{Code: load, K: uint32(16 + 8*i)}, unix.SockFilter{Code: equal, K: a, Jf: uint8(2*(len(args)-i) - 1)})
	}
	filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	Must(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	Must(t, unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0))
}
