// The smallest launcher: usage: launcher SIGNALS PROGRAM [ARG...]. It ignores SIGNALS in addition, makes a
// change on all threads as a real one would, restores, and executes PROGRAM. Without PROGRAM it prints
// what it received.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/caplaunch/caplaunch/internal/origin"
)

func init() { runtime.LockOSThread() }

func main() {
	os.Exit(run())
}

func run() int {
	received, err := origin.Received()
	if len(os.Args) < 3 {
		fmt.Println("recorded:", origin.Recorded(), err, received)
		for _, entry := range origin.Environ() {
			fmt.Printf("%q\n", entry)
		}
		fmt.Println("GOMAXPROCS:", runtime.GOMAXPROCS(0))
		return 0
	}
	if err != nil && !errors.Is(err, origin.ErrNoEntry) {
		fmt.Fprintln(os.Stderr, "launcher:", err)
		return 125
	}
	extra, err := origin.ParseSignals(os.Args[1:2])
	if err != nil {
		fmt.Fprintln(os.Stderr, "launcher:", err)
		return 125
	}
	const prSetKeepcaps = 8
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, prSetKeepcaps, 0, 0); errno != 0 {
		fmt.Fprintln(os.Stderr, "launcher: all threads:", errno)
		return 125
	}
	received.Ignored |= extra
	if err := origin.Restore(received); err != nil {
		fmt.Fprintln(os.Stderr, "launcher:", err)
		return 125
	}
	err = syscall.Exec(os.Args[2], os.Args[2:], origin.Environ())
	runtime.GC()
	fmt.Fprintln(os.Stderr, "launcher:", err)
	return 126
}
