// Package oracle proves the model of internal/ambient against the running
// kernel: random sequences of credential system calls, each ended by a real
// execve, are made by the model and by the kernel side by side and compared state
// by state, refusals included. A program in C makes them, and package linux through
// both of its doors. Mutants prove the proof: model, plan and calls are broken in
// one place at a time, and each time a test must find it out.
package oracle
