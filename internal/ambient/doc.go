// Package ambient decides how a process must change its credentials so that
// the program it becomes has exactly the capabilities asked for. It is pure:
// it makes no system call and reads no file.
//
// plan.go turns a Request and the State that the kernel reported into Steps, or
// refuses what cannot be had. It relies on the rules of capabilities(7), which
// are in rules.go, one for each system call.
package ambient
