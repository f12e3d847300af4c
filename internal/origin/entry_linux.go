//go:build linux && (amd64 || arm64 || 386 || arm || riscv64)

package origin

//lint:file-ignore U1000 the entry, in assembly, reads what stands here

import "syscall"

// settings stand in front of the environment that the entry shows to the runtime. The runtime takes the
// first entry of a name, so it never sees what was meant for the program. They are its defaults, but for
// three. It may not preempt by signal: a SIGURG that comes while Restore blocks it would stay pending in
// the program. It prepares for one processor: on a host with 256 that saves most of the start. And it
// ends by SIGABRT when it gives up, for which LastWords has a handler.
var settings = [settingsCount]string{
	"GODEBUG=asyncpreemptoff=1\x00",
	"GOGC=100\x00",
	"GOMAXPROCS=1\x00",
	"GOMEMLIMIT=off\x00",
	"GOTRACEBACK=crash\x00",
}

// deadly are the signals that the handler is for: those of a fault; 33, should the runtime be unable to take
// that one; and 34, of the timers, which the runtime leaves alone and unblocked.
var deadly = [deadlyCount]uintptr{uintptr(syscall.SIGILL), uintptr(syscall.SIGTRAP), uintptr(syscall.SIGABRT),
	uintptr(syscall.SIGBUS), uintptr(syscall.SIGFPE), uintptr(syscall.SIGSEGV), uintptr(syscall.SIGSYS), sigPerThread, sigExpiry}

// The deadline is for a runtime that waits for a thread or a wake-up that was only said to be there. What
// takes long in a launch is reading PROGRAM from a slow disk. execve deletes the timer, timer_create(2).
var deadline = timespecs{value: 300}

const (
	settingsCount = 5
	deadlyCount   = 9
	lastStatus    = 125 // with which the handler exits

	getFD   = syscall.F_GETFD
	badFD   = syscall.EBADF
	mostFDs = 1 << 20 // more than anybody has open; a lie must not go on for ever

	// The address space that the runtime reserves before it can say anything but "out of memory": a little less than
	// what it needs, which is 1,259 MB on 64 bits and 13 on 32, this binary included.
	room     = 7<<20 + 1183<<20*(^uintptr(0)>>63)
	reserved = syscall.MAP_PRIVATE | syscall.MAP_ANON

	clockMonotonic = 1
)
