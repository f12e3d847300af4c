// Package exec finds the program, tells what execve(2) will make of it (whose
// credentials it takes, and whether it can run at all), and becomes it. Nothing
// here decides about capabilities, that is package ambient's, and nothing but
// Replace changes the process.
package exec
