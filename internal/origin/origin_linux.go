//go:build linux && !mips && !mipsle && !mips64 && !mips64le

package origin

import (
	"os"
	"syscall"
	"unsafe"
)

// The entry fills these before the runtime exists; nothing writes them afterwards.
var (
	received     answers
	initialStack unsafe.Pointer // argc, argv, the settings, envp and auxv; nil: the entry did not run
)

// answers are the raw words of the kernel. The entry stores them; the names of the fields and constants reach it
// through go_asm.h. A result is what the call returned, negative for an errno.
type answers struct {
	action       [64]sigaction // of signal i+1
	actionResult [64]int
	mask         uint64
	maskResult   int
	flags        [6]int // of descriptor i/2, asked twice: one answer that was faked as 0, which looks like a true one, shows
}

// sigaction is the kernel's struct of rt_sigaction(2), which is 32 bytes or less. On the architectures that this
// file is built for the handler comes first, and what follows is 0 for SIG_IGN and SIG_DFL.
type sigaction [sigactionSize / unsafe.Sizeof(uintptr(0))]uintptr

const (
	sigactionSize = 32
	settingsCount = 6

	sigIGN = 1

	// What stands in a buffer before the kernel is asked is no answer that it ever gives: a handler at the
	// last address, a mask with KILL and STOP. A read that was faked to succeed leaves it there.
	noHandler = ^uintptr(0)
	noMask    = ^uint64(0)
)

// ours are the signals that init ignores although they were not ignored at the start.
var ours Signals

// init goes on ignoring what was ignored, so that a signal that comes now meets no handler of the runtime. As
// process 1 of a PID namespace it also ignores the signals that the kernel drops there for a program without
// handlers, pid_namespaces(7). Whatever fails here Restore tells.
func init() {
	start, _ := received.process()
	if os.Getpid() == 1 {
		now, _ := current()
		ours = SignalsOf(1, 2, 3, 15) &^ now.ignored &^ start.ignored
	}
	Ignore((start.ignored | ours) &^ SignalsOf(4, 5, 6, 7, 8, 11, 31)) // those of a fault stay the runtime's
}

// Ignore makes the process ignore signals from now on, but for KILL and STOP, which nobody can, and 33, by which the
// runtime reaches all threads. Restore looks at what came of it.
func Ignore(signals Signals) {
	signals &^= SignalsOf(9, 19, 33)
	for signal := 1; signal <= 64; signal++ {
		if signals.Has(signal) {
			_ = setIgnored(signal, true)
		}
	}
}

// Recorded reports whether what the kernel handed over is known.
func Recorded() bool { return initialStack != nil }

// StdoutClosed reports whether descriptor 1 was closed at the start. The runtime has put /dev/null there.
func StdoutClosed() bool { return received.flags[2] == -int(syscall.EBADF) }

// process judges what the entry stored. The error is a *CallError.
func (a *answers) process() (p process, err error) {
	for i := range a.action {
		if err := callError("rt_sigaction", i+1, a.actionResult[i], a.action[i][0] != noHandler); err != nil {
			return p, err
		}
		if a.action[i][0] == sigIGN {
			p.ignored |= SignalsOf(i + 1)
		}
	}
	p.blocked = Signals(a.mask)
	for i, flags := range a.flags {
		fd, again := i/2, i%2 == 1
		// A descriptor that execve will close is as good as closed.
		closed := flags == -int(syscall.EBADF) || flags == syscall.FD_CLOEXEC
		switch {
		case again && closed != p.closed[fd]:
			return p, &CallError{"fcntl", fd, ErrFaked}
		case flags < 0 && !closed:
			return p, &CallError{"fcntl", fd, syscall.Errno(-flags)}
		}
		p.closed[fd] = closed
	}
	return p, callError("rt_sigprocmask", 0, a.maskResult, a.mask != noMask)
}

// callError judges what a call returned, and whether it answered. It is nil or a *CallError.
func callError(call string, arg, result int, answered bool) error {
	switch {
	case result < 0:
		return &CallError{call, arg, syscall.Errno(-result)}
	case !answered:
		return &CallError{call, arg, ErrFaked}
	}
	return nil
}

// Environ is the environment as received: every entry byte for byte and in order, empty ones, duplicates and those
// without "=" too. Without the entry it is os.Environ, which drops empty and repeated ones. The strings are the
// kernel's own copy on the initial stack.
func Environ() []string {
	if initialStack == nil {
		return os.Environ()
	}
	const word = unsafe.Sizeof(uintptr(0))
	argc := *(*uintptr)(initialStack)
	slot := unsafe.Add(initialStack, (1+argc+1+settingsCount)*word) // past argc, argv, its NULL and the settings
	env := []string{}
	for p := *(**byte)(slot); p != nil; p = *(**byte)(slot) {
		n := 0
		for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
			n++
		}
		env = append(env, unsafe.String(p, n))
		slot = unsafe.Add(slot, word)
	}
	return env
}

// Check reports what the entry could not find out, before anything is changed for good. The error is a *CallError.
func Check() error {
	_, err := received.process()
	return err
}

// Restore makes what was received what the next program finds, with the signals of ignore ignored too, and reads
// it back. It belongs directly before execve, on the locked thread that calls it. Afterwards the process may only
// execve, or print and exit. Without the entry only ignore is added to what the runtime has left.
//
// The error is a *CallError or a *MismatchError.
func Restore(ignore Signals) error {
	start := received.process
	if initialStack == nil {
		start = current
	}
	want, err := start()
	if err != nil {
		return err
	}
	want.ignored = want.ignored&^ours | ignore
	// execve turns the runtime's handlers into the default by itself; only SIG_IGN passes through it.
	for signal := 1; signal <= 64; signal++ {
		if want.ignored.Has(signal) || ours.Has(signal) {
			if err := setIgnored(signal, want.ignored.Has(signal)); err != nil {
				return err
			}
		}
	}
	// It is left to execve to close a descriptor, so that one which fails can still be reported.
	for fd, closed := range want.closed {
		if closed {
			systemCall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, syscall.FD_CLOEXEC)
		}
	}
	// The mask after the dispositions: a signal that is to be ignored must not become pending.
	const sigSetmask = 2
	systemCall(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&want.blocked)), 0)
	got, err := current()
	if err == nil && got != want {
		err = &MismatchError{want, got}
	}
	return err
}

// current is what a program would be handed if this thread called execve now.
func current() (process, error) {
	a := answers{mask: noMask}
	for i := range a.action {
		a.action[i][0] = noHandler
		a.actionResult[i] = systemCall(syscall.SYS_RT_SIGACTION, uintptr(i+1), 0, uintptr(unsafe.Pointer(&a.action[i])))
	}
	a.maskResult = systemCall(syscall.SYS_RT_SIGPROCMASK, 0, 0, uintptr(unsafe.Pointer(&a.mask)))
	for i := range a.flags {
		a.flags[i] = systemCall(syscall.SYS_FCNTL, uintptr(i/2), syscall.F_GETFD, 0)
	}
	return a.process()
}

func setIgnored(signal int, ignored bool) error {
	var action sigaction // SIG_DFL
	if ignored {
		action[0] = sigIGN
	}
	return callError("rt_sigaction", signal, systemCall(syscall.SYS_RT_SIGACTION, uintptr(signal), uintptr(unsafe.Pointer(&action)), 0), true)
}

// systemCall is a raw one, whose fourth argument is the size of a set of signals, where it has one. The result is a
// negative errno on failure, as the entry stores it.
//
//go:uintptrescapes
func systemCall(number, a, b, c uintptr) int {
	r, _, errno := syscall.RawSyscall6(number, a, b, c, 8, 0, 0)
	if errno != 0 {
		return -int(errno)
	}
	return int(r)
}
