// Package exec finds the program as the present user, tells what execve(2) will
// take from its file, copies it into memory where its file has privilege that
// must not count, and becomes it. It decides nothing about capabilities, and
// nothing but Replace changes the process.
package exec
