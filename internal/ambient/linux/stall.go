//go:build linux && (amd64 || arm64 || 386 || arm || riscv64)

package linux

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watch runs do, which writes through this package, and ends the process with
// status 125 when do uses up the patience: the Go runtime waits for a thread that
// no signal reaches in a loop without end, and runs no other Go code meanwhile.
// So it is a timer of the kernel, whose handler is in assembly: it writes what
// say made of the call under way, and exits. A timer that cannot be had is no
// reason to refuse, because it guards against what hardly ever happens.
//
// The signal is SIGPROF, which the runtime keeps unblocked. execve deletes the
// timer and resets the handler, timer_create(2), signal(7).
func (Kernel) Watch(say func(op string) string, do func() error) error {
	attempt = func(op string) { last = say(op) }
	var before [5]uintptr
	action := [5]uintptr{handler(), saOnStack | saRestorer, handler()} // it never returns: no restorer is needed
	event := struct {
		value          uintptr
		signal, notify int32 // notify 0 is SIGEV_SIGNAL
		_              [48]byte
	}{signal: int32(unix.SIGPROF)}
	var timer int32
	if done(unix.SYS_RT_SIGACTION, uintptr(unix.SIGPROF), uintptr(unsafe.Pointer(&action)), uintptr(unsafe.Pointer(&before)), 8) &&
		done(unix.SYS_TIMER_CREATE, unix.CLOCK_PROCESS_CPUTIME_ID, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer)), 0) {
		defer func() {
			done(unix.SYS_TIMER_DELETE, uintptr(timer), 0, 0, 0)
			done(unix.SYS_RT_SIGACTION, uintptr(unix.SIGPROF), uintptr(unsafe.Pointer(&before)), 0, 8)
		}()
		once := [4]uintptr{2: patience} // struct itimerspec: interval and value, each in seconds and nanoseconds
		done(unix.SYS_TIMER_SETTIME, uintptr(timer), 0, uintptr(unsafe.Pointer(&once)), 0)
	}
	return do()
}

// last is what the handler writes.
//
//lint:ignore U1000 the handler, in assembly, reads it
var last string

// patience is CPU time: a container that is frozen or starved is not stalled. A
// launch takes a hundredth of it.
const patience = 1 // second

const (
	saOnStack  = 0x08000000
	saRestorer = 0x04000000
)

// attempt notes the call under way.
var attempt = func(op string) {}

// done makes the call and reports whether it succeeded.
//
//go:uintptrescapes
func done(nr, a, b, c, d uintptr) bool {
	_, _, e := syscall.RawSyscall6(nr, a, b, c, d, 0, 0)
	return e == 0
}

// handler is the address of the signal handler.
func handler() uintptr
