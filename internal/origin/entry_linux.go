//go:build linux && (amd64 || arm64)

package origin

//lint:file-ignore U1000 the entry, in assembly, reads what stands here

import "syscall"

// settings stand in front of the environment that the entry shows to the runtime, which takes the first entry of a
// name and so never sees what was meant for the program. They are its defaults, but for two. It may not preempt by
// signal: a SIGURG that comes while Restore blocks it would stay pending in the program. And it prepares for one
// processor: on a host with 256 that saves most of the start. The sixth is empty and keeps the stack aligned.
var settings = [settingsCount]string{
	"GODEBUG=asyncpreemptoff=1\x00",
	"GOGC=100\x00",
	"GOMAXPROCS=1\x00",
	"GOMEMLIMIT=off\x00",
	"GOTRACEBACK=single\x00",
	"\x00",
}

const getFD = syscall.F_GETFD
