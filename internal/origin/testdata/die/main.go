// A program that its runtime ends, in the way that its argument says.
package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/caplaunch/caplaunch/internal/origin"
)

func main() {
	origin.LastWords("these are the last words\n")
	switch os.Args[1] {
	case "panic":
		panic("of our own")
	case "nil":
		var p *int
		*p = 1
	case "deadlock":
		select {}
	case "stack":
		debug.SetMaxStack(1 << 20)
		deep(0)
	case "signal":
		n, _ := strconv.Atoi(os.Args[2])
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		time.Sleep(time.Second)
	case "loop":
		_ = origin.Watch(func() error {
			for {
			}
		})
	case "sleep":
		time.Sleep(time.Minute)
	}
}

func deep(n int) int { return deep(n+1) + n }
