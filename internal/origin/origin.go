// Package origin knows the process as the kernel handed it over, before the Go runtime changed it:
// ignored and blocked signals, closed standard descriptors, the environment byte for byte. A launcher
// takes that down with [Received] and [Environ] and puts it back with [Restore] just before execve(2), so
// that the next program finds what it would have found behind a launcher written in C.
//
// Go code runs too late to look. Before the first init the runtime has replaced the inherited SIG_IGN of
// all signals but HUP, INT and the stops of a terminal, unblocked a good part of the mask, opened
// /dev/null on closed descriptors 0 to 2, dropped duplicate and empty environment entries, and obeyed
// GODEBUG, GOGC, GOMAXPROCS, GOMEMLIMIT and GOTRACEBACK, which were meant for the program.
// So the package brings an ELF entry of its own in assembly, entry_linux_*.s. It asks and stores, and goes
// on to the runtime's entry with a copy of argv and environment that has settings for this runtime in
// front. The linker takes it by a documented flag (go doc cmd/link, -E):
//
//	CGO_ENABLED=0 go build -ldflags '-E _caplaunch_entry'
//
// Without the flag, with cgo, or on a platform that has no entry here, everything builds and works;
// [Received] then says ErrNoEntry.
//
// The entry also sees to it that a process which the Go runtime ends has [LastWords] and exits with status 125.
package origin

import (
	"errors"
	"fmt"
	"strings"
)

// Process is what a process inherits at execve(2) and the Go runtime changes. Two can be compared with ==.
type Process struct {
	Ignored Signals // disposition SIG_IGN; execve resets every other one to default, signal(7)
	Blocked Signals // mask of the main thread, sigprocmask(2)
	Closed  [3]bool // standard descriptors that were not open
}

func (p Process) String() string {
	var closed []string
	for fd, c := range p.Closed {
		if c {
			closed = append(closed, fmt.Sprint(fd))
		}
	}
	return fmt.Sprintf("ignored [%v], blocked [%v], closed [%s]", p.Ignored, p.Blocked, strings.Join(closed, " "))
}

// Room is the hint that goes with [LastWords]: what gives the Go runtime the threads, the memory and the system
// calls that it needs.
const Room = "docker or podman run --pids-limit=-1 --security-opt=seccomp=unconfined; " +
	"kubernetes: securityContext: {seccompProfile: {type: Unconfined}}; " +
	"systemd: TasksMax=infinity and SystemCallFilter= (empty); a shell: ulimit -u unlimited; ulimit -v unlimited; " +
	"or again, if it was stopped for five minutes or a disk was slow"

// ErrNoEntry says that nothing was recorded, because this binary does not start at the package's entry.
var ErrNoEntry = errors.New("what the kernel handed over was not recorded: built without -ldflags '-E _caplaunch_entry'")

// ErrNoAnswer is the reason in a CallError when a call reported success and left its buffer untouched.
var ErrNoAnswer = errors.New("reported success but gave no answer")

// CallError is a system call that failed, or did not answer, while the process was read or restored.
type CallError struct {
	Call string // rt_sigaction, rt_sigprocmask, fstat, stat, fcntl
	Arg  int    // the signal, or the descriptor; 0 for rt_sigprocmask
	Err  error  // a syscall.Errno, or ErrNoAnswer
}

func (e *CallError) Error() string {
	what := ""
	switch e.Call {
	case "rt_sigaction":
		what = " of signal " + Signals(1<<(e.Arg-1)).String()
	case "fstat", "fcntl":
		what = fmt.Sprintf(" of descriptor %d", e.Arg)
	case "stat":
		what = " of /dev/null"
	}
	return e.Call + what + ": " + e.Err.Error()
}

func (e *CallError) Unwrap() error { return e.Err }

// ForeignFileError is a descriptor that was recorded as closed and now holds something else than the
// /dev/null that the Go runtime puts there. Closing it might take an inherited file from the program.
type ForeignFileError struct{ FD int }

func (e *ForeignFileError) Error() string {
	return fmt.Sprintf("descriptor %d was closed at the start, but what is there now is not /dev/null", e.FD)
}

// MismatchError is a Restore after which the kernel reports another state than the one asked for.
type MismatchError struct{ Want, Got Process }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("signals and descriptors are not as received: want %v; got %v", e.Want, e.Got)
}
