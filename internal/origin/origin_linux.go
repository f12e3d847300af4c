//go:build linux && !mips && !mipsle && !mips64 && !mips64le

package origin

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"unsafe"
)

// The entry fills these before the runtime exists; nothing writes them afterwards.
var (
	received     answers
	initialStack unsafe.Pointer // argc, argv, envp and auxv, as laid out by execve(2); nil: the entry did not run
)

// answers are the raw words of the kernel. The entry stores them; the names of the
// fields and constants reach it through go_asm.h. A result is what the call returned, negative for an errno.
type answers struct {
	action       [64]sigaction // of signal i+1
	actionResult [64]int
	mask         uint64
	maskResult   int
	file         [3]stat
	fileResult   [3]int
	free         int // the first descriptor from 3 on that was not open
	freeResult   int // EBADF, if that was found out
}

// sigaction is the kernel's struct of rt_sigaction(2), which is 32 bytes or less. On the architectures
// that this file is built for the handler comes first, and what follows is 0 for SIG_IGN and SIG_DFL.
type sigaction [sigactionSize / unsafe.Sizeof(uintptr(0))]uintptr

// stat is the struct of fstat(2), which is 144 bytes or less and begins with the number of the device.
type stat [statSize / unsafe.Sizeof(uintptr(0))]uintptr

const (
	sigactionSize = 32
	statSize      = 144

	sigDFL = 0
	sigIGN = 1

	sigPerThread = 33 // by which the runtime carries a system call to all threads
	sigExpiry    = 34 // of our timers

	// What stands in a buffer before the kernel is asked is no answer that it ever gives: a handler at the
	// last address, a mask with KILL and STOP, device -1. A read that was faked to succeed leaves it there.
	noHandler = ^uintptr(0)
	noMask    = ^uint64(0)
	noDevice  = ^uintptr(0)
)

// signals judges what was said of signals. The error is a *CallError.
func (a *answers) signals() (ignored, blocked Signals, err error) {
	for i := range a.action {
		if err := check("rt_sigaction", i+1, a.actionResult[i], a.action[i][0] != noHandler); err != nil {
			return 0, 0, err
		}
		if a.action[i][0] == sigIGN {
			ignored |= 1 << i
		}
	}
	if err := check("rt_sigprocmask", 0, a.maskResult, a.mask != noMask); err != nil {
		return 0, 0, err
	}
	return ignored, Signals(a.mask), nil
}

// process judges all that the entry stored. The error is a *CallError.
func (a *answers) process() (p Process, err error) {
	if p.Ignored, p.Blocked, err = a.signals(); err != nil {
		return Process{}, err
	}
	for fd := range a.file {
		p.Closed[fd] = a.fileResult[fd] == -int(syscall.EBADF)
		if p.Closed[fd] {
			continue
		}
		if err := check("fstat", fd, a.fileResult[fd], a.file[fd][0] != noDevice); err != nil {
			return Process{}, err
		}
	}
	return p, nil
}

func check(call string, arg, result int, answered bool) error {
	switch {
	case result < 0:
		return &CallError{call, arg, syscall.Errno(-result)}
	case !answered:
		return &CallError{call, arg, ErrNoAnswer}
	}
	return nil
}

// Received is the process as the kernel handed it over at execve. With ErrNoEntry, or with a *CallError
// when the entry was refused an answer, it is the process as the runtime has left it, and Restore of it
// changes nothing. If even that cannot be read, the value is zero and Restore will fail.
func Received() (Process, error) {
	err := ErrNoEntry
	if initialStack != nil {
		var p Process
		if p, err = received.process(); err == nil {
			return p, nil
		}
	}
	now, _ := current()
	return now, err
}

// init lets what was ignored be ignored while this program runs, as early as a package can: a signal that comes
// now must not meet the runtime's handler, and a write to a closed pipe fails as it does in C. The signals of a
// fault stay the runtime's, and so does 33.
func init() {
	if initialStack == nil {
		return
	}
	debug.SetTraceback("crash") // again: with AT_SECURE the runtime does not take it from the environment
	p, err := received.process()
	if err != nil {
		return // whoever asks Received is told
	}
	var ignored []os.Signal
	for n := 1; n <= 64; n++ {
		switch {
		case !p.Ignored.Has(n) || n == sigPerThread:
		case n == int(syscall.SIGABRT):
			// Caught, and dropped: ignored, it could not bring the last words.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGABRT)
		case n == sigExpiry:
			forgoTimers()
		default:
			ignored = append(ignored, syscall.Signal(n))
		}
	}
	if ignored != nil { // without arguments it would be all of them
		signal.Ignore(ignored...)
	}
}

// Recorded reports whether Received is what the kernel handed over.
func Recorded() bool {
	_, err := Received()
	return err == nil
}

// Environ is the environment as received: every entry byte for byte and in order, empty ones, duplicates
// and those without "=" too. Without the entry it is os.Environ, which drops empty and repeated ones.
// Behind the entry os.Environ is no substitute: it holds settings. The strings are the kernel's own copy on
// the initial stack, as are those of os.Args.
func Environ() []string {
	if initialStack == nil {
		return os.Environ()
	}
	const word = unsafe.Sizeof(uintptr(0))
	argc := *(*uintptr)(initialStack)
	slot := unsafe.Add(initialStack, (1+argc+1)*word) // past argc, argv and its NULL
	env := []string{}
	for p := *(**byte)(slot); p != nil; p = *(**byte)(slot) {
		env = append(env, cString(p))
		slot = unsafe.Add(slot, word)
	}
	return env
}

func cString(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// Restore makes p what the next program finds, and reads it back from the kernel. It belongs directly
// before execve, on the locked thread that calls it. Afterwards the process may only execve or print and
// exit: signal 33, by which the runtime carries a system call to all threads, may be ignored now. Nothing
// has to be undone when the execve fails; standard descriptors are still open then.
//
// The error is a *CallError, *ForeignFileError or *MismatchError.
func Restore(p Process) error {
	now, err := current()
	if err != nil {
		return err
	}
	for signal := 1; signal <= 64; signal++ {
		// execve turns the runtime's handlers into the default by itself; only SIG_IGN passes through it.
		if p.Ignored.Has(signal) != now.Ignored.Has(signal) {
			if err := setIgnored(signal, p.Ignored.Has(signal)); err != nil {
				return err
			}
		}
	}
	for fd, closed := range p.Closed {
		if closed && !now.Closed[fd] {
			if err := closeOnExec(fd); err != nil {
				return err
			}
		}
	}

	if err := closeAdded(); err != nil {
		return err
	}

	// The mask after the dispositions: a signal that p ignores must not become pending.
	if err := setMask(p.Blocked); err != nil {
		return err
	}

	got, err := current()
	if err != nil {
		return err
	}
	if got != p {
		return &MismatchError{Want: p, Got: got}
	}
	return nil
}

// current is what a program would be handed if this thread called execve now.
func current() (p Process, err error) {
	var a answers
	for i := range a.action {
		a.action[i][0] = noHandler
		a.actionResult[i] = signalCall(syscall.SYS_RT_SIGACTION, i+1, nil, unsafe.Pointer(&a.action[i]))
	}
	a.mask = noMask
	a.maskResult = signalCall(syscall.SYS_RT_SIGPROCMASK, 0, nil, unsafe.Pointer(&a.mask))
	if p.Ignored, p.Blocked, err = a.signals(); err != nil {
		return Process{}, err
	}
	for fd := range p.Closed {
		switch flags := fcntl(fd, syscall.F_GETFD, 0); {
		case flags == -int(syscall.EBADF):
			p.Closed[fd] = true
		case flags < 0:
			return Process{}, check("fcntl", fd, flags, true)
		default:
			p.Closed[fd] = flags&syscall.FD_CLOEXEC != 0
		}
	}
	return p, nil
}

func setIgnored(signal int, ignored bool) error {
	action := sigaction{sigDFL}
	if ignored {
		action[0] = sigIGN
	}
	return check("rt_sigaction", signal, signalCall(syscall.SYS_RT_SIGACTION, signal, unsafe.Pointer(&action), nil), true)
}

func setMask(mask Signals) error {
	const sigSetmask = 2
	return check("rt_sigprocmask", 0, signalCall(syscall.SYS_RT_SIGPROCMASK, sigSetmask, unsafe.Pointer(&mask), nil), true)
}

// closeOnExec leaves it to execve to close a descriptor, so that one which fails can still be reported.
func closeOnExec(fd int) error {
	var there, null syscall.Stat_t
	if err := syscall.Fstat(fd, &there); err != nil {
		return &CallError{"fstat", fd, err}
	}
	if err := syscall.Stat(os.DevNull, &null); err != nil {
		return &CallError{"stat", fd, err}
	}
	if there.Dev != null.Dev || there.Ino != null.Ino {
		return &ForeignFileError{FD: fd}
	}
	return check("fcntl", fd, fcntl(fd, syscall.F_SETFD, syscall.FD_CLOEXEC), true)
}

// closeAdded closes at the execve what the runtime opened before main and was not allowed to close: it asks a
// file in /sys for the size of huge pages, and does not look whether close(2) succeeded.
func closeAdded() error {
	fd := received.free
	if initialStack == nil || received.freeResult != -int(syscall.EBADF) {
		return nil
	}
	flags := fcntl(fd, syscall.F_GETFD, 0)
	if flags == -int(syscall.EBADF) || flags >= 0 && flags&syscall.FD_CLOEXEC != 0 {
		return nil
	}
	if flags >= 0 {
		flags = fcntl(fd, syscall.F_SETFD, syscall.FD_CLOEXEC)
	}
	if err := check("fcntl", fd, flags, true); err != nil {
		return err
	}
	flags = fcntl(fd, syscall.F_GETFD, 0)
	return check("fcntl", fd, flags, flags&syscall.FD_CLOEXEC != 0)
}

// signalCall is rt_sigaction(2) or rt_sigprocmask(2): a new value, room for the old one, the size of a set.
func signalCall(number uintptr, first int, set, old unsafe.Pointer) int {
	r, _, errno := syscall.RawSyscall6(number, uintptr(first), uintptr(set), uintptr(old), 8, 0, 0)
	return result(r, errno)
}

func fcntl(fd, command, arg int) int {
	r, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(command), uintptr(arg))
	return result(r, errno)
}

// result is a negative errno on failure, as the kernel returns it and the entry stores it.
func result(r uintptr, errno syscall.Errno) int {
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}
