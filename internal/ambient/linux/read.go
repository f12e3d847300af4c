//go:build linux

package linux

import (
	"errors"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A ReadError is a read that failed, or that returned what no kernel returns:
// somebody answers in its place.
type ReadError struct {
	Op  string
	Err error // an errno, or ErrFaked
}

func (e *ReadError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// ErrFaked says that a call reported success and cannot have been made.
var ErrFaked = errors.New("it reports success without an answer; is a seccomp filter or a tracer answering for the kernel?")

// State reads the credentials of the calling thread, without /proc. Each buffer is
// filled beforehand with what cannot be, so that a call that reports success and
// does nothing is found out. The error is a *ReadError.
func (Kernel) State() (ambient.State, error) {
	var r reader
	s, _ := r.state()
	return s, r.err
}

// StateAndHost is State, and what the kernel knows. The error is a *ReadError.
func (Kernel) StateAndHost() (ambient.State, ambient.Host, error) {
	var r reader
	s, h := r.state()
	h.SetGroups = true
	if s.Effective.Has(ambient.CapSetGID) {
		// More groups than there can be: EINVAL where groups can be set at all.
		switch _, _, errno := unix.RawSyscall(sysSetgroups, ambient.MaxGroups+1, 0, 0); errno {
		case unix.EINVAL:
		case unix.EPERM:
			h.SetGroups = false
		default:
			r.fail("setgroups", errno)
		}
	}
	return s, h, r.err
}

// DeathSignal is the parent-death signal of this thread, 0 without one.
func (Kernel) DeathSignal() (int, error) {
	var r reader
	sig := int32(-1)
	r.ask("prctl PR_GET_PDEATHSIG", unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	if sig < 0 {
		r.fail("prctl PR_GET_PDEATHSIG", 0)
	}
	return int(sig), r.err
}

// A reader keeps the first error. What is read after it does not count.
type reader struct{ err error }

// fail keeps an error: errno, or ErrFaked for the success of 0.
func (r *reader) fail(op string, errno unix.Errno) {
	switch {
	case r.err != nil:
	case errno == 0:
		r.err = &ReadError{op, ErrFaked}
	default:
		r.err = &ReadError{op, errno}
	}
}

func (r *reader) state() (s ambient.State, h ambient.Host) {
	s.Bounding, h.Known = r.set("prctl PR_CAPBSET_READ", 1, unix.PR_CAPBSET_READ, 0, 0)
	raised, known := r.set("prctl PR_CAP_AMBIENT_IS_SET", 2, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, 0)
	s.Ambient, h.Ambient = raised, known != 0
	if h.Known == 0 {
		r.fail("prctl PR_CAPBSET_READ", unix.EINVAL)
	} else if h.Ambient && known != h.Known {
		r.fail("prctl PR_CAP_AMBIENT_IS_SET", 0)
	}
	if h.Ambient { // an old gVisor has no securebits either
		s.Securebits = ambient.Securebits(r.ask("prctl PR_GET_SECUREBITS", unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0))
	}
	bit := r.ask("prctl PR_GET_NO_NEW_PRIVS", unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0)
	if s.NoNewPrivs = bit == 1; bit != 0 && bit != 1 {
		r.fail("prctl PR_GET_NO_NEW_PRIVS", 0)
	}
	s.Permitted, s.Inheritable, s.Effective = r.caps()
	if !s.Permitted.Contains(s.Effective) || !(s.Permitted & s.Inheritable).Contains(s.Ambient) {
		r.fail("capget", 0)
	}
	s.UID = r.ids("getresuid", sysGetresuid)
	s.GID = r.ids("getresgid", sysGetresgid)
	s.Groups = r.groups()
	return s, h
}

// set asks prctl(2) for one capability after the other, in args[at], until the
// kernel knows no more, as capabilities(7) suggests where there is no /proc.
func (r *reader) set(op string, at int, args ...uintptr) (set, known ambient.Set) {
	for c := range ambient.MaxCap + 2 { // the last one is more than there can be
		args[at] = uintptr(c)
		has, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, args[0], args[1], args[2], 0, 0, 0)
		switch {
		case errno == unix.EINVAL:
			return set, known
		case errno != 0:
			r.fail(op, errno)
		case has != 0 && has != 1:
			r.fail(op, 0)
		case has == 1:
			set |= ambient.SetOf(c)
		}
		known |= ambient.SetOf(c)
	}
	r.fail(op, 0)
	return 0, 0
}

// caps is capget(2) of this thread.
func (r *reader) caps() (permitted, inheritable, effective ambient.Set) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{{Effective: 1}} // without permitted: no kernel says that
	r.ask("capget", unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
	join := func(lo, hi uint32) ambient.Set { return ambient.Set(lo) | ambient.Set(hi)<<32 }
	return join(data[0].Permitted, data[1].Permitted), join(data[0].Inheritable, data[1].Inheritable), join(data[0].Effective, data[1].Effective)
}

// ids is getresuid(2) or getresgid(2). No process has the id -1: in every call that
// sets ids it means "leave it alone".
func (r *reader) ids(op string, nr uintptr) ambient.IDs {
	const noID = ^uint32(0)
	ids := ambient.Same(noID)
	r.ask(op, nr, uintptr(unsafe.Pointer(&ids.Real)), uintptr(unsafe.Pointer(&ids.Effective)), uintptr(unsafe.Pointer(&ids.Saved)))
	if ids.Saved == noID {
		r.fail(op, 0)
	}
	return ids
}

// groups is getgroups(2). A call that did nothing looks like an empty list. So a call
// that must fail comes first.
func (r *reader) groups() ambient.Groups {
	const op = "getgroups"
	if _, _, errno := unix.RawSyscall(sysGetgroups, ^uintptr(0), 0, 0); errno != unix.EINVAL {
		r.fail(op, errno)
	}
	n := r.ask(op, sysGetgroups, 0, 0, 0)
	if n < 0 || n > ambient.MaxGroups {
		r.fail(op, 0)
		return ""
	}
	// One slot even for no groups: a list that is not empty after all would then
	// show, as an answer of 1 or as EINVAL.
	ids := make([]uint32, max(n, 1))
	for i := range ids {
		ids[i] = ^uint32(0)
	}
	got := r.ask(op, sysGetgroups, uintptr(len(ids)), uintptr(unsafe.Pointer(&ids[0])), 0)
	if got != n || n > 0 && ids[n-1] == ^uint32(0) {
		r.fail(op, 0)
		return ""
	}
	return ambient.NewGroups(ids[:n]...)
}

// ask is a call that answers with its return value, -1 when it fails. The directive
// keeps what the arguments point to in place until it returns.
//
//go:uintptrescapes
func (r *reader) ask(op string, nr, a, b, c uintptr) int {
	n, _, errno := unix.RawSyscall6(nr, a, b, c, 0, 0, 0)
	if errno != 0 {
		r.fail(op, errno)
	}
	return int(n)
}

// Doubtful are the entries of a list from getgroups(2) that may stand for a gid
// that is not mapped in the user namespace: such a gid reads as the overflow gid,
// user_namespaces(7). There are none where every gid is mapped.
func Doubtful(g ambient.Groups) ambient.Groups {
	overflow := uint64(65534)
	text, _ := ReadFile("/proc/sys/kernel/overflowgid")
	if id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32); err == nil && HasProc() {
		overflow = id
	}
	if !g.Has(uint32(overflow)) || MapsAll("/proc/self/gid_map") {
		return ""
	}
	return ambient.NewGroups(uint32(overflow))
}

// MapsAll reports whether a map of user_namespaces(7) is whole, as that of the initial
// namespace is. One that cannot be read may not be.
func MapsAll(path string) bool {
	text, _ := ReadFile(path)
	return HasProc() && strings.Join(strings.Fields(text), " ") == "0 0 4294967295"
}

// HasProc reports whether the kernel's /proc is there. Where none is mounted, an image
// can bring files of its own under that name.
func HasProc() bool {
	fd, _ := unix.Open("/proc", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	defer unix.Close(fd)
	var fs unix.Statfs_t // zero where nothing was opened
	_ = unix.Fstatfs(fd, &fs)
	return fs.Type == unix.PROC_SUPER_MAGIC
}

// ReadFile is os.ReadFile for small files, cut off at 1 MiB, without the runtime's
// poller: that takes two more descriptors, and the process ends when there are none.
func ReadFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	const most = 1 << 20
	var all []byte
	for buf := make([]byte, 4096); len(all) < most; {
		switch n, err := unix.Read(fd, buf); {
		case err == unix.EINTR:
		case n <= 0:
			return string(all), err
		default:
			all = append(all, buf[:n]...)
		}
	}
	return string(all), nil
}
