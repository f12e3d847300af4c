//go:build linux

// Package linux is the real kernel behind ambient.Kernel, and the only door to
// it: writes go through psx and so reach every thread of the process, as
// nptl(7) wants it and AllThreadsSyscall does it; reads are raw and look at
// the calling thread, which is the one that execs.
package linux

import (
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Kernel changes and reads the credentials of this process. The caller has to
// be locked to its thread (runtime.LockOSThread) from the first read to the
// exec.
type Kernel struct{}

var _ ambient.Kernel = Kernel{}

// all makes the call on every thread. What the arguments point to stays where
// it is until then.
//
//go:uintptrescapes
func all(op string, nr, a, b, c uintptr) error {
	attempt(op)
	if _, _, e := psx.Syscall3(nr, a, b, c); e != 0 {
		return e
	}
	return nil
}

// prctl makes the call on every thread; arguments that it does not name have
// to be 0, prctl(2).
func prctl(name string, op, a, b uintptr) error {
	attempt("prctl " + name)
	if _, _, e := psx.Syscall6(unix.SYS_PRCTL, op, a, b, 0, 0, 0); e != 0 {
		return e
	}
	return nil
}

// Capset is capset(2) with the 64-bit masks of version 3.
func (Kernel) Capset(p, i, e ambient.Set) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(e), Permitted: uint32(p), Inheritable: uint32(i)},
		{Effective: uint32(e >> 32), Permitted: uint32(p >> 32), Inheritable: uint32(i >> 32)},
	}
	return all("capset", unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
}

// RaiseAmbient is PR_CAP_AMBIENT_RAISE, prctl(2).
func (Kernel) RaiseAmbient(c ambient.Cap) error {
	return prctl("PR_CAP_AMBIENT_RAISE", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c))
}

// DropBounding is PR_CAPBSET_DROP, prctl(2).
func (Kernel) DropBounding(c ambient.Cap) error {
	return prctl("PR_CAPBSET_DROP", unix.PR_CAPBSET_DROP, uintptr(c), 0)
}

// SetKeepCaps is PR_SET_KEEPCAPS, prctl(2).
func (Kernel) SetKeepCaps(on bool) error {
	var v uintptr
	if on {
		v = 1
	}
	return prctl("PR_SET_KEEPCAPS", unix.PR_SET_KEEPCAPS, v, 0)
}

// SetNoNewPrivs is PR_SET_NO_NEW_PRIVS, prctl(2).
func (Kernel) SetNoNewPrivs() error {
	return prctl("PR_SET_NO_NEW_PRIVS", unix.PR_SET_NO_NEW_PRIVS, 1, 0)
}

// SetGroups is setgroups(2).
func (Kernel) SetGroups(g ambient.Groups) error {
	ids := g.IDs()
	return all("setgroups", sysSetgroups, uintptr(len(ids)), uintptr(unsafe.Pointer(unsafe.SliceData(ids))), 0)
}

// SetResGID is setresgid(2).
func (Kernel) SetResGID(to ambient.IDs) error {
	return all("setresgid", sysSetresgid, uintptr(to.Real), uintptr(to.Effective), uintptr(to.Saved))
}

// SetResUID is setresuid(2).
func (Kernel) SetResUID(to ambient.IDs) error {
	return all("setresuid", sysSetresuid, uintptr(to.Real), uintptr(to.Effective), uintptr(to.Saved))
}

// SetDeathSignal sets the parent-death signal, PR_SET_PDEATHSIG of prctl(2),
// which belongs to a thread and is cleared by every change of ids.
func (Kernel) SetDeathSignal(sig int) error {
	return prctl("PR_SET_PDEATHSIG", unix.PR_SET_PDEATHSIG, uintptr(sig), 0)
}
