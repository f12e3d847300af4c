// Command caplaunch stands in front of a program, turns the capabilities that
// the runtime granted into ambient ones, drops to a user with them kept, and
// becomes the program.
package main

import (
	"cmp"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// The credentials that are verified are this thread's, and the parent-death
// signal and the signal mask belong to it too: it must be the one that execs.
func init() { runtime.LockOSThread() }

func main() { os.Exit(newApp().main(os.Args)) }

// An app is caplaunch with everything it depends on.
type app struct {
	args    []string
	environ []string // as the kernel handed it over
	stdout  io.Writer
	stderr  io.Writer
	system
}

// An exit ends caplaunch with a status after all has been said.
type exit int

func (exit) Error() string { return "said" }

// main runs one command line and returns the exit status. After a launch that
// succeeds it does not return.
func (a *app) main(args []string) int {
	a.args = append(args[:len(args):len(args)], "")[:max(1, len(args))]
	report := &reporter{w: a.stderr, json: wantsJSON(a.args, a.environ)}
	leaveNote := a.note()
	l, err := parse(a.args[1:], a.environ, a.stdout)
	if err == nil {
		err = a.command(l, report)
	}
	var said exit
	var f *failure
	switch {
	case err == nil || errors.Is(err, errHelp):
		return 0
	case errors.As(err, &said):
		return int(said)
	case !errors.As(err, &f):
		f = a.inWords(err)
	}
	text := report.fail(f)
	if l == nil || l.command == "run" {
		leaveNote(text)
	}
	return f.code
}

// command runs what a command line names.
func (a *app) command(l *line, report *reporter) error {
	out := l.Run.output
	if l.command == "explain" {
		out = l.Explain.output
	}
	report.quiet, report.verbose = out.Quiet, out.Verbose && !out.Quiet
	switch l.command {
	case "run":
		return a.run(l, report)
	case "explain":
		if l.Explain.For != "" {
			return a.explainFor(l, report)
		}
		return a.explain(l, report)
	case "check":
		return a.check(l, report)
	case "show":
		return a.show(&l.Show)
	case "install":
		return a.install(&l.Install)
	}
	return a.version(&l.Version)
}

// wantsJSON looks for --log-format=json before the command line is understood,
// so that a usage error has the format too.
func wantsJSON(args, environ []string) bool {
	format, name := "", variable("log-format")+"="
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, name); ok {
			format = v
		}
	}
	before := args[:slices.Index(append(args[:len(args):len(args)], "--"), "--")]
	return cmp.Or((&line{before: before}).given("log-format"), format) == "json"
}
