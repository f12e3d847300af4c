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

// ErrFaked says that a call reported success and cannot have been made.
var ErrFaked = errors.New("it reports success without an answer; is a seccomp filter or a tracer answering for the kernel?")

func (e *ReadError) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *ReadError) Unwrap() error { return e.Err }

// State reads the credentials of the calling thread by system calls alone, no
// /proc. Each buffer is filled beforehand with what cannot be, so that a call
// that reports success and does nothing is found out. The error is a *ReadError.
func (k Kernel) State() (ambient.State, error) {
	s, _, err := read()
	return s, err
}

// Start is State, and what the kernel knows. The error is a *ReadError.
func (k Kernel) Start() (s ambient.State, h ambient.Host, err error) {
	if s, h, err = read(); err != nil {
		return s, h, err
	}
	h.SetGroups = true
	if s.Effective.Has(ambient.CapSetGID) {
		// More groups than there can be: EINVAL where groups can be set at all.
		_, _, e := unix.RawSyscall(sysSetgroups, ambient.MaxGroups+1, 0, 0)
		switch e {
		case unix.EINVAL:
		case unix.EPERM:
			h.SetGroups = false
		case 0:
			return s, h, &ReadError{"setgroups", ErrFaked}
		default:
			return s, h, &ReadError{"setgroups", e}
		}
	}
	return s, h, nil
}

func read() (s ambient.State, h ambient.Host, err error) {
	if s.Bounding, h.Known, err = readBounding(); err != nil {
		return s, h, err
	}
	if s.Ambient, h.Ambient, err = readAmbient(h.Known); err != nil {
		return s, h, err
	}
	bits, err := get(unix.PR_GET_SECUREBITS, 0, 0)
	if err != nil && (err != unix.EINVAL || h.Ambient) { // an old gVisor has neither
		return s, h, &ReadError{"prctl PR_GET_SECUREBITS", err}
	}
	s.Securebits = ambient.Securebits(bits)
	if s.NoNewPrivs, err = getBit("PR_GET_NO_NEW_PRIVS", unix.PR_GET_NO_NEW_PRIVS, 0, 0); err != nil {
		return s, h, err
	}
	for _, part := range []func(*ambient.State) error{readCaps, readIDs, readGroups} {
		if err := part(&s); err != nil {
			return s, h, err
		}
	}
	// What the kernel guarantees of every process, capabilities(7).
	if !(s.Permitted & s.Inheritable).Contains(s.Ambient) {
		return s, h, &ReadError{"reading the state", ErrFaked}
	}
	return s, h, nil
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
	const nobody = ^uint32(0)
	read := func(op string, nr uintptr, ids *ambient.IDs) error {
		*ids = ambient.Same(nobody)
		_, _, e := unix.RawSyscall(nr, uintptr(unsafe.Pointer(&ids.Real)), uintptr(unsafe.Pointer(&ids.Effective)), uintptr(unsafe.Pointer(&ids.Saved)))
		switch {
		case e != 0:
			return &ReadError{op, e}
		case ids.Real == nobody || ids.Effective == nobody || ids.Saved == nobody:
			return &ReadError{op, ErrFaked}
		}
		return nil
	}
	if err := read("getresuid", sysGetresuid, &s.UID); err != nil {
		return err
	}
	return read("getresgid", sysGetresgid, &s.GID)
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
	// One slot even for no groups: a list that is not empty after all would then
	// show, as an answer of 1 or as EINVAL.
	ids := make([]uint32, max(n, 1))
	for i := range ids {
		ids[i] = ^uint32(0)
	}
	got, err := ask(len(ids), ids)
	if err != nil && n > 0 {
		return &ReadError{"getgroups", err}
	}
	if err != nil || got != n || n > 0 && ids[n-1] == ^uint32(0) {
		return &ReadError{"getgroups", ErrFaked}
	}
	s.Groups = ambient.NewGroups(ids[:n]...)
	return nil
}

// readBounding asks for the bits until the kernel knows no more, as
// capabilities(7) suggests where there is no /proc.
func readBounding() (bounding, known ambient.Set, err error) {
	const impossible = 1 << 16
	if err := mustRefuse(get(unix.PR_CAPBSET_READ, impossible, 0)); err != nil {
		return 0, 0, &ReadError{"prctl PR_CAPBSET_READ", err}
	}
	for c := ambient.Cap(0); c <= ambient.MaxCap; c++ {
		set, err := getBit("PR_CAPBSET_READ", unix.PR_CAPBSET_READ, uintptr(c), 0)
		switch {
		case c > 0 && errors.Is(err, unix.EINVAL):
			return bounding, known, nil
		case err != nil:
			return 0, 0, err
		case set:
			bounding |= ambient.SetOf(c)
		}
		known |= ambient.SetOf(c)
	}
	return bounding, known, nil
}

// readAmbient asks for each capability of known, and reports whether the kernel
// has an ambient set.
func readAmbient(known ambient.Set) (raised ambient.Set, exists bool, err error) {
	for c := range known.All() {
		set, err := getBit("PR_CAP_AMBIENT_IS_SET", unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(c))
		switch {
		case c == 0 && errors.Is(err, unix.EINVAL):
			return 0, false, nil
		case err != nil:
			return 0, false, err
		case set:
			raised |= ambient.SetOf(c)
		}
	}
	return raised, true, nil
}

// get is a prctl that answers with its return value.
func get(op, a, b uintptr) (int, error) {
	r, _, e := unix.RawSyscall6(unix.SYS_PRCTL, op, a, b, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), nil
}

// getBit is get for an answer of 0 or 1: any other answer is ErrFaked.
func getBit(name string, op, a, b uintptr) (bool, error) {
	r, err := get(op, a, b)
	if err == nil && r != 0 && r != 1 {
		err = ErrFaked
	}
	if err != nil {
		return false, &ReadError{"prctl " + name, err}
	}
	return r == 1, nil
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

// DeathSignal is the parent-death signal of this thread, 0 without one.
func (k Kernel) DeathSignal() (int, error) {
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

// Doubtful are the entries of a list from getgroups(2) that may stand for a gid
// that is not mapped in the user namespace: such a gid reads as the overflow gid,
// user_namespaces(7). There are none where every gid is mapped.
func Doubtful(g ambient.Groups) ambient.Groups {
	overflow := ambient.NewGroups(65534)
	if text, err := ReadFile("/proc/sys/kernel/overflowgid"); err == nil {
		if id, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32); err == nil {
			overflow = overflow.With(uint32(id))
		}
	}
	doubtful := g.Without(g.Without(overflow))
	if doubtful.Len() == 0 {
		return doubtful
	}
	const everyID = "0 0 4294967295"
	if text, err := ReadFile("/proc/self/gid_map"); err == nil && strings.Join(strings.Fields(text), " ") == everyID {
		return ""
	}
	return doubtful
}

// ReadFile is os.ReadFile for small files, without the runtime's poller: that
// takes two more descriptors, and the process ends when there are none.
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
		case err != nil || n <= 0:
			return string(all), err
		default:
			all = append(all, buf[:n]...)
		}
	}
	return string(all), nil
}
