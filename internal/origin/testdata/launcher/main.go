// The smallest launcher: usage: launcher SIGNALS PROGRAM [ARG...]. It says that it is ready, waits for the end of
// stdin, ignores SIGNALS (a mask in hex) in addition, restores, and executes PROGRAM. Without PROGRAM it prints what
// it received.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"github.com/caplaunch/caplaunch/internal/origin"
)

func init() { runtime.LockOSThread() }

func main() {
	os.Exit(run())
}

func run() int {
	if len(os.Args) < 3 {
		fmt.Println("recorded:", origin.Recorded(), origin.Check())
		for _, entry := range origin.Environ() {
			fmt.Printf("%q\n", entry)
		}
		fmt.Println("GOMAXPROCS:", runtime.GOMAXPROCS(0))
		return 0
	}
	mask, err := strconv.ParseUint(os.Args[1], 16, 64)
	if err == nil {
		err = origin.Check()
	}
	if err == nil && !origin.StdoutClosed() {
		_, _ = syscall.Write(1, []byte("ready\n"))
	}
	for n := 1; n > 0; {
		n, _ = syscall.Read(0, make([]byte, 1))
	}
	if err == nil {
		err = origin.Restore(origin.Signals(mask))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "launcher:", err)
		return 125
	}
	err = syscall.Exec(os.Args[2], os.Args[2:], origin.Environ())
	runtime.GC()
	fmt.Fprintln(os.Stderr, "launcher:", err)
	return 126
}
