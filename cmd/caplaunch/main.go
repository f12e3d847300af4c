// Command caplaunch stands in front of a program, turns the capabilities that
// the runtime granted into ambient ones, drops to a user with them kept, and
// becomes the program.
package main

import (
	"os"
	"runtime"
)

// The credentials that are verified are this thread's, and the parent-death
// signal and the signal mask belong to it too: it must be the one that execs.
func init() { runtime.LockOSThread() }

func main() { os.Exit(newApp().main(os.Args)) }
