//go:build linux

// Package linux is the real kernel behind ambient.Kernel, and the only door to
// it. It writes on the calling thread, in a process that is about to exec; or by
// psx on every thread, in one that lives on. It reads the calling thread.
package linux

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Kernel changes and reads the credentials of this process. The caller has to be
// locked to its thread, runtime.LockOSThread. A process must use one kind only: the
// Go runtime ends it when a call for all threads finds that they differ.
type Kernel struct{ allThreads bool }

// OneThread writes on the calling thread: execve keeps its credentials and ends
// all the others. It needs no signal.
func OneThread() Kernel { return Kernel{} }

// AllThreads writes on every thread, which psx reaches by a queued signal each.
func AllThreads() Kernel { return Kernel{allThreads: true} }

// Do carries a step out. The error is an errno, or ErrNoQueue.
func (k Kernel) Do(step ambient.Step) error {
	switch s := step.(type) {
	case ambient.Capset:
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{
			{Effective: uint32(s.Effective), Permitted: uint32(s.Permitted), Inheritable: uint32(s.Inheritable)},
			{Effective: uint32(s.Effective >> 32), Permitted: uint32(s.Permitted >> 32), Inheritable: uint32(s.Inheritable >> 32)},
		}
		return k.call(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
	case ambient.RaiseAmbient:
		return k.call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(s.Cap))
	case ambient.DropBounding:
		return k.call(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(s.Cap), 0)
	case ambient.SetKeepCaps:
		return k.call(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0)
	case ambient.SetNoNewPrivs:
		return k.call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	case ambient.SetGroups:
		ids := s.Groups.IDs()
		return k.call(sysSetgroups, uintptr(len(ids)), uintptr(unsafe.Pointer(unsafe.SliceData(ids))), 0)
	case ambient.SetResGID:
		return k.call(sysSetresgid, uintptr(s.To.Real), uintptr(s.To.Effective), uintptr(s.To.Saved))
	case ambient.SetResUID:
		return k.call(sysSetresuid, uintptr(s.To.Real), uintptr(s.To.Effective), uintptr(s.To.Saved))
	}
	return syscall.ENOSYS
}

// SetDeathSignal is PR_SET_PDEATHSIG, prctl(2): a change of ids clears it.
func (k Kernel) SetDeathSignal(sig int) error {
	return k.call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(sig), 0)
}

// Hide keeps other processes of the same user out of this one's memory until
// execve(2): PR_SET_DUMPABLE 0 of prctl(2), read back. All threads share that memory,
// so whoever may ptrace(2) this one can make another, which still has all that was
// granted, run code of theirs. It has to come before this thread gives up a permitted
// capability: until then ptrace(2) denies access to whoever lacks one of these.
func (Kernel) Hide() error {
	var r reader
	// A filter may answer both calls with 0. So one that must fail comes first.
	if _, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 3, 0); errno != unix.EINVAL {
		r.fail("prctl PR_SET_DUMPABLE", errno)
	}
	r.ask("prctl PR_SET_DUMPABLE", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0)
	if r.ask("prctl PR_GET_DUMPABLE", unix.SYS_PRCTL, unix.PR_GET_DUMPABLE, 0, 0) != 0 {
		r.fail("prctl PR_SET_DUMPABLE", 0)
	}
	return r.err
}

// call makes one system call of up to three arguments; the others are 0, as
// prctl(2) demands. The directive keeps what they point to in place until it returns.
//
//go:uintptrescapes
func (k Kernel) call(nr, a, b, c uintptr) error {
	write := unix.RawSyscall6
	if k.allThreads {
		if !canQueue() {
			return ErrNoQueue
		}
		write = psx.Syscall6
	}
	if _, _, e := write(nr, a, b, c, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// ErrNoQueue says that psx would wait for ever. The queue is counted per user,
// across containers, getrlimit(2) RLIMIT_SIGPENDING.
var ErrNoQueue = errors.New("no signal can be queued for this user, and explain needs that to reach every thread of its process (run needs none)")

// canQueue queues blocked real-time signals for this thread, more than the runtime
// has threads, and takes them back.
func canQueue() bool {
	const probe, maskSize, threads = 64, 8, 16
	var was, probed uint64 = 0, 1 << (probe - 1)
	var now unix.Timespec
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(&probed)), uintptr(unsafe.Pointer(&was)), maskSize, 0, 0)
	queued := 0
	for queued < threads && unix.Tgkill(unix.Getpid(), unix.Gettid(), probe) == nil {
		queued++
	}
	for range queued {
		unix.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&probed)), 0, uintptr(unsafe.Pointer(&now)), maskSize, 0, 0)
	}
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&was)), 0, maskSize, 0, 0)
	return queued == threads
}
