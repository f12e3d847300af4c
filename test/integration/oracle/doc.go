// Package oracle proves the model of internal/ambient against the running kernel: random sequences of credential system
// calls, each ended by a real execve, are made by the model and by the kernel side by side and compared state by state,
// refusals included. Package linux makes them through both of its doors, and a program in C says what it found. Mutants
// prove the proof: model, plan and calls are broken in one place at a time, and each time a test must find it out.
package oracle
