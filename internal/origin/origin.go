// Package origin knows the process as the kernel handed it over, before the Go runtime changed it: ignored and
// blocked signals, closed standard descriptors, the environment byte for byte. It puts that back just before
// execve(2), so that the next program finds what it would have found behind a launcher written in C.
//
// Go code runs too late to look. Before the first init function the runtime has replaced the inherited SIG_IGN of
// all signals but HUP, INT and the stops of a terminal, unblocked a good part of the mask, opened /dev/null on
// closed descriptors 0 to 2, and obeyed GODEBUG, GOGC, GOMAXPROCS, GOMEMLIMIT and GOTRACEBACK, which were meant
// for the program. So there is an ELF entry in assembly, entry_linux_*.s. It asks, stores the answers, puts
// settings for this runtime in front of the environment, and goes on to the runtime's own entry. The linker takes it
// by a documented flag (go doc cmd/link, -E):
//
//	CGO_ENABLED=0 go build -ldflags '-E _caplaunch_entry'
//
// Without the flag, or on a platform that has no entry here, everything builds and works, and [Recorded] is
// false: the program then finds what the Go runtime leaves.
package origin

import (
	"errors"
	"fmt"
)

// A process is what a process inherits at execve(2) and the Go runtime changes.
type process struct {
	ignored Signals // disposition SIG_IGN; execve resets every other one to default, signal(7)
	blocked Signals // mask of the main thread, sigprocmask(2)
	closed  [3]bool // standard descriptors that are not open, or will be closed by execve
}

// A CallError is a system call that failed, or did not answer, while the process was read or restored.
type CallError struct {
	Call string // rt_sigaction, rt_sigprocmask, fcntl
	Arg  int    // the signal, or the descriptor; 0 for rt_sigprocmask
	Err  error  // an errno, or ErrFaked
}

// ErrFaked says that a call reported success and cannot have been made.
var ErrFaked = errors.New("it reported success but gave no answer")

func (e *CallError) Error() string { return fmt.Sprintf("%s of %d: %v", e.Call, e.Arg, e.Err) }
func (e *CallError) Unwrap() error { return e.Err }

// A MismatchError is a Restore after which the kernel reports another state than the one asked for.
type MismatchError struct{ want, got process }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("ignored signals, blocked ones and closed descriptors are not as received: want %+v, got %+v", e.want, e.got)
}

// Signals is a set of signals as the kernel lays it out: bit s-1 is signal s. The zero value is empty.
type Signals uint64

// SignalsOf is the set of the given signals, each from 1 to 64.
func SignalsOf(signals ...int) (s Signals) {
	for _, signal := range signals {
		s |= 1 << (signal - 1)
	}
	return s
}

// Has reports whether the signal is in the set. It takes any int and is false outside 1 to 64.
func (s Signals) Has(signal int) bool {
	return signal > 0 && s>>(signal-1)&1 == 1
}
