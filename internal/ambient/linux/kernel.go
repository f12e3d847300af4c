//go:build linux

// Package linux is the real kernel behind ambient.Kernel, and the only door to
// it: writes go through psx and so reach every thread of the process, as
// nptl(7) wants it and AllThreadsSyscall does it; reads are raw and look at
// the calling thread, which is the one that execs.
package linux

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
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

// A ReadError is a read that failed, or that returned what no kernel returns:
// somebody answers in its place.
type ReadError struct {
	Op  string
	Err error // an errno, or ErrFaked
}

// ErrFaked says that a call reported success and cannot have been made.
var ErrFaked = errors.New("it reports success without an answer; is a seccomp filter or a tracer answering for the kernel?")

func (e *ReadError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// ExitStatus is 125.
func (*ReadError) ExitStatus() int { return ambient.ExitFailure }

// A LimitError is a resource limit that leaves no room for a launch.
type LimitError struct {
	Limit string
	Value uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s is %d: no signal can be queued, by which every thread changes its credentials", e.Limit, e.Value)
}

// ExitStatus is 125.
func (*LimitError) ExitStatus() int { return ambient.ExitFailure }

// Hint says how to raise the limit.
func (*LimitError) Hint() string {
	return "ulimit -i 1024 (docker run --ulimit=sigpending=1024, systemd LimitSIGPENDING=1024)"
}

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

// DeathSignal is the parent-death signal of this thread, 0 without one.
func (Kernel) DeathSignal() (int, error) {
	sig := int32(-1)
	_, _, e := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0)
	if e != 0 {
		return 0, &ReadError{"prctl PR_GET_PDEATHSIG", e}
	}
	if sig < 0 {
		return 0, &ReadError{"prctl PR_GET_PDEATHSIG", ErrFaked}
	}
	return int(sig), nil
}

// State reads the credentials back by system calls alone, no /proc. Each buffer
// is filled beforehand with what cannot be, so that a call that reports success
// and does nothing is found out. The error is a *ReadError.
func (Kernel) State() (ambient.State, error) {
	var s ambient.State
	known, err := known()
	if err != nil {
		return s, err
	}
	for _, read := range []func(*ambient.State) error{readCaps, readIDs, readGroups} {
		if err := read(&s); err != nil {
			return s, err
		}
	}
	bounding := func(c ambient.Cap) (int, error) { return get(unix.PR_CAPBSET_READ, uintptr(c), 0) }
	if s.Bounding, err = readBits("prctl PR_CAPBSET_READ", known, bounding); err != nil {
		return s, err
	}
	ambients := func(c ambient.Cap) (int, error) {
		return get(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c))
	}
	hasAmbient, err := hasAmbient()
	if err != nil {
		return s, err
	}
	if hasAmbient {
		if s.Ambient, err = readBits("prctl PR_CAP_AMBIENT_IS_SET", known, ambients); err != nil {
			return s, err
		}
	}
	bits, err := get(unix.PR_GET_SECUREBITS, 0, 0)
	switch {
	case err == unix.EINVAL && !hasAmbient: // gVisor has neither
	case err != nil:
		return s, &ReadError{"prctl PR_GET_SECUREBITS", err}
	default:
		s.Securebits = ambient.Securebits(bits)
	}
	nnp, err := get(unix.PR_GET_NO_NEW_PRIVS, 0, 0)
	if err != nil {
		return s, &ReadError{"prctl PR_GET_NO_NEW_PRIVS", err}
	}
	s.NoNewPrivs = nnp == 1

	// What the kernel guarantees of every process, capabilities(7).
	if nnp > 1 || !s.Permitted.Contains(s.Effective) || !(s.Permitted & s.Inheritable).Contains(s.Ambient) {
		return s, &ReadError{"reading the state back", ErrFaked}
	}
	return s, nil
}

// get is a prctl that answers with its return value.
func get(op, a, b uintptr) (int, error) {
	r, _, e := unix.RawSyscall6(unix.SYS_PRCTL, op, a, b, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// mustRefuse judges the answer to a question that the kernel refuses with
// EINVAL: success means that somebody else has answered it.
func mustRefuse(_ int, err error) error {
	switch err {
	case unix.EINVAL:
		return nil
	case nil:
		return ErrFaked
	}
	return err
}

// known asks for the bounding set's bits until the kernel knows no more, as
// capabilities(7) suggests where there is no /proc.
func known() (ambient.Set, error) {
	const impossible = 1 << 16
	if err := mustRefuse(get(unix.PR_CAPBSET_READ, impossible, 0)); err != nil {
		return 0, &ReadError{"prctl PR_CAPBSET_READ", err}
	}
	var s ambient.Set
	for c := ambient.Cap(0); c <= ambient.MaxCap; c++ {
		_, err := get(unix.PR_CAPBSET_READ, uintptr(c), 0)
		if err == unix.EINVAL {
			break
		}
		if err != nil {
			return 0, &ReadError{"prctl PR_CAPBSET_READ", err}
		}
		s |= ambient.SetOf(c)
	}
	if s == 0 {
		return 0, &ReadError{"prctl PR_CAPBSET_READ", unix.EINVAL}
	}
	return s, nil
}

// hasAmbient reports whether the kernel has an ambient set.
func hasAmbient() (bool, error) {
	_, err := get(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, 0)
	if err != nil && err != unix.EINVAL {
		return false, &ReadError{"prctl PR_CAP_AMBIENT_IS_SET", err}
	}
	return err == nil, nil
}

// readBits asks for each capability of known. An answer other than 0 and 1 is
// none.
func readBits(op string, known ambient.Set, ask func(ambient.Cap) (int, error)) (ambient.Set, error) {
	var s ambient.Set
	for c := range known.All() {
		switch v, err := ask(c); {
		case err != nil:
			return 0, &ReadError{op, err}
		case v == 1:
			s |= ambient.SetOf(c)
		case v != 0:
			return 0, &ReadError{op, ErrFaked}
		}
	}
	return s, nil
}

// readCaps is capget(2) of this thread.
func readCaps(s *ambient.State) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// Effective without permitted: no kernel says that.
	data := [2]unix.CapUserData{{Effective: ^uint32(0)}, {Effective: ^uint32(0)}}
	if _, _, e := unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0); e != 0 {
		return &ReadError{"capget", e}
	}
	join := func(lo, hi uint32) ambient.Set { return ambient.Set(lo) | ambient.Set(hi)<<32 }
	s.Permitted = join(data[0].Permitted, data[1].Permitted)
	s.Inheritable = join(data[0].Inheritable, data[1].Inheritable)
	s.Effective = join(data[0].Effective, data[1].Effective)
	if !s.Permitted.Contains(s.Effective) {
		return &ReadError{"capget", ErrFaked}
	}
	return nil
}

// readIDs is getresuid(2) and getresgid(2). The id -1 means "leave it alone"
// in every call that sets one, so that nobody has it.
func readIDs(s *ambient.State) error {
	for _, read := range []struct {
		op  string
		nr  uintptr
		ids *ambient.IDs
	}{{"getresuid", sysGetresuid, &s.UID}, {"getresgid", sysGetresgid, &s.GID}} {
		const nobody = ^uint32(0)
		*read.ids = ambient.Same(nobody)
		_, _, e := unix.RawSyscall(read.nr, uintptr(unsafe.Pointer(&read.ids.Real)),
			uintptr(unsafe.Pointer(&read.ids.Effective)), uintptr(unsafe.Pointer(&read.ids.Saved)))
		if e != 0 {
			return &ReadError{read.op, e}
		}
		if got := *read.ids; got.Real == nobody || got.Effective == nobody || got.Saved == nobody {
			return &ReadError{read.op, ErrFaked}
		}
	}
	return nil
}

// readGroups is getgroups(2).
func readGroups(s *ambient.State) error {
	ask := func(n int, buf []uint32) (int, error) {
		r, _, e := unix.RawSyscall(sysGetgroups, uintptr(n), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), 0)
		if e != 0 {
			return 0, e
		}
		return int(r), nil
	}
	// No groups is a plausible answer, so first a question that must fail.
	if err := mustRefuse(ask(-1, nil)); err != nil {
		return &ReadError{"getgroups", err}
	}
	n, err := ask(0, nil)
	if err != nil {
		return &ReadError{"getgroups", err}
	}
	if n < 0 || n > ambient.MaxGroups {
		return &ReadError{"getgroups", ErrFaked}
	}
	if n == 0 {
		// The answer must not change when there is room for one: for any other
		// number of groups this would be 1 or EINVAL.
		if again, err := ask(1, make([]uint32, 1)); again != 0 || err != nil {
			return &ReadError{"getgroups", ErrFaked}
		}
		return nil
	}
	ids := make([]uint32, n)
	for i := range ids {
		ids[i] = ^uint32(0)
	}
	got, err := ask(n, ids)
	if err != nil {
		return &ReadError{"getgroups", err}
	}
	if got != n || ids[n-1] == ^uint32(0) {
		return &ReadError{"getgroups", ErrFaked}
	}
	s.Groups = ambient.NewGroups(ids...)
	return nil
}

// Host asks what the kernel knows, and reads what the user namespace maps where
// there is a /proc. The error is a *ReadError.
func (Kernel) Host() (ambient.Host, error) {
	h := ambient.Host{SetGroups: true}
	// The other threads are reached by a queued signal each. When it cannot be
	// queued, the Go runtime waits for them forever.
	const threads = 8
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_SIGPENDING, &limit)
	if err == nil && limit.Cur < threads {
		return h, &LimitError{"RLIMIT_SIGPENDING", limit.Cur}
	}
	if h.Known, err = known(); err != nil {
		return h, err
	}
	if h.Ambient, err = hasAmbient(); err != nil {
		return h, err
	}
	h.UIDs, h.GIDs = readMap("/proc/self/uid_map"), readMap("/proc/self/gid_map")
	h.Nested = nested(h.UIDs)
	if b, err := readFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(b)) == "deny" {
		h.SetGroups = false
	}
	return h, nil
}

// nested reports whether the map is not the identity of the whole range, which
// the initial user namespace has.
func nested(m ambient.IDMap) bool {
	return m != nil && (len(m) != 1 || m[0] != ambient.IDRange{First: 0, Count: 1<<32 - 1})
}

// readFile is os.ReadFile without the runtime's poller, which wants two more
// descriptors and ends the process when there are none.
func readFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var all []byte
	for buf := make([]byte, 4096); ; {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, err
		case n <= 0:
			return all, nil
		default:
			all = append(all, buf[:n]...)
		}
	}
}

// readMap reads a map of user_namespaces(7), or nil when that cannot be had: a
// map that is not known refuses nothing, the kernel will.
func readMap(path string) ambient.IDMap {
	b, err := readFile(path)
	if err != nil {
		return nil
	}
	m := ambient.IDMap{}
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			return nil
		}
		first, err1 := strconv.ParseUint(words[0], 10, 32)
		count, err2 := strconv.ParseUint(words[2], 10, 32)
		if err1 != nil || err2 != nil {
			return nil
		}
		m = append(m, ambient.IDRange{First: uint32(first), Count: uint32(count)})
	}
	return m
}

// Errno is the errno in err, or 0.
func Errno(err error) syscall.Errno {
	var e syscall.Errno
	errors.As(err, &e)
	return e
}
