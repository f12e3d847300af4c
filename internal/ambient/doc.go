// Package ambient decides how a process must change its credentials so that
// the program it becomes has exactly the capabilities asked for. It is pure:
// it makes no system call and reads no file.
//
// The launch is in plan.go: NewPlan turns a Request and the State that the
// kernel reported into Steps, and refuses what cannot be had. The rules of
// capabilities(7) that it relies on are the methods of State in rules.go, one
// for each system call. Apply and Verify carry a plan out on any Kernel: the
// Sim, which follows the rules, or the real one in package linux below.
package ambient
