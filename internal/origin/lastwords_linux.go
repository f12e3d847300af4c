//go:build linux && (amd64 || arm64 || 386 || arm || riscv64)

package origin

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// A runtime that gets no thread, no memory or no signal handler ends the process with status 2, or by a
// signal, or waits for ever, and no code of ours is asked. So the entry puts a handler in its way, in
// assembly, for the signals by which a process dies of itself, and sets a deadline. The runtime calls a
// handler that was there before its own for faults outside of Go code (os/signal, "Non-Go programs that call
// Go code") and, with GOTRACEBACK=crash, ends everything else by SIGABRT, which it hands on as well.
//
// Out of reach is what fails before the runtime has read that variable, which is the memory maps of its first
// moments and its look at the standard descriptors, and a fault while it blocks all signals around a clone.

// lastWords are what the handler writes. It reads one pointer, so that it never sees half of a change.
var lastWords = &startWords

var startWords = "caplaunch: error: cut short before it began: the Go runtime gave up, because of a limit or a seccomp filter, or five minutes have passed\n" +
	"caplaunch: hint: " + Room + "\n"

// LastWords sets what the process writes to stderr, before it exits with status 125, when the Go runtime
// gives up, when it has not come to its execve within five minutes, or when a [Watch] ends. Without the
// entry nothing is written: the runtime has the last word.
func LastWords(text string) {
	atomic.StorePointer((*unsafe.Pointer)(unsafe.Pointer(&lastWords)), unsafe.Pointer(&text))
}

// expiry is the event of both timers, and timer the id of the deadline's, or 0, which is no other's.
var (
	expiry   = sigevent{signal: sigExpiry}
	timer    int32
	noTimers bool
)

// forgoTimers lets their signal be ignored, as it was at the start, and takes the deadline back.
func forgoTimers() {
	noTimers = true
	done(syscall.SYS_TIMER_DELETE, uintptr(timer), nil, nil)
	_ = setIgnored(sigExpiry, true) // as good as it can be until Restore, which asks whether it succeeded
}

// sigevent is the struct of timer_create(2), with notify 0, which is SIGEV_SIGNAL.
type sigevent struct {
	value          uintptr
	signal, notify int32
	_              [56 - unsafe.Sizeof(uintptr(0))]byte
}

// timespecs is struct itimerspec, in seconds and nanoseconds.
type timespecs struct{ interval, _, value, _ uintptr }

// Watch runs do, and ends the process with its last words when do uses up a second of CPU time: in
// syscall.AllThreadsSyscall the runtime waits for a thread that no signal reaches in a loop without end, and
// runs no other Go code meanwhile. So it is a timer of the kernel. One that cannot be had is no reason to
// refuse, because it guards against what hardly ever happens. Without the entry there is none.
//
// CPU time, because a container that is frozen or starved is not stalled. A launch takes a hundredth of it.
func Watch(do func() error) error {
	const clockProcessCPUTime = 2
	timer := int32(-1) // no timer's, should the call only be said to have succeeded
	if initialStack != nil && !noTimers && done(syscall.SYS_TIMER_CREATE, clockProcessCPUTime, unsafe.Pointer(&expiry), unsafe.Pointer(&timer)) {
		defer done(syscall.SYS_TIMER_DELETE, uintptr(timer), nil, nil)
		done(syscall.SYS_TIMER_SETTIME, uintptr(timer), nil, unsafe.Pointer(&timespecs{value: 1}))
	}
	return do()
}

// done makes the call, whose fourth argument is NULL, and reports whether it succeeded.
func done(number, a uintptr, b, c unsafe.Pointer) bool {
	_, _, e := syscall.RawSyscall6(number, a, uintptr(b), uintptr(c), 0, 0, 0)
	return e == 0
}
