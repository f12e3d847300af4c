// Package oracle proves the model of internal/ambient against the running
// kernel: random sequences of credential system calls, each ended by a real
// execve, are made on the Sim and on the kernel side by side and compared
// state by state, refusals included. Its mutants prove the proof: every rule
// of the model, broken by hand once, must be found out.
package oracle
