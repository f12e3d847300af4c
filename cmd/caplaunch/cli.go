package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// grammar is the command line in front of the first "--". What follows it
// belongs to the program, and kong never sees it.
type grammar struct {
	Help    bool       `short:"h" help:"Show context-sensitive help."`
	Run     runCmd     `cmd:"" default:"withargs" help:"Launch PROGRAM with the asked-for capabilities; the default."`
	Explain explainCmd `cmd:"" help:"Say what run would do, and change nothing."`
	Check   checkCmd   `cmd:"" help:"Fail when more capabilities were granted than a list allows."`
	Show    showCmd    `cmd:"" help:"Print the identity and the capability sets of a process."`
	Install installCmd `cmd:"" help:"Copy this binary to a path, as an init container does."`
	Version versionCmd `cmd:"" help:"Print version, commit, Go version and platform."`
}

// commands are the words that name one.
var commands = []string{"run", "explain", "check", "show", "install", "version"}

// runGrammar is the part of grammar that a launch needs: kong takes its time for
// every flag.
type runGrammar struct {
	Help bool   `short:"h"`
	Run  runCmd `cmd:"" default:"withargs"`
}

// output says how caplaunch's own lines look.
type output struct {
	Quiet     bool   `short:"q" env:"CAPLAUNCH_QUIET" group:"output" help:"Print errors only."`
	Verbose   bool   `short:"v" env:"CAPLAUNCH_VERBOSE" group:"output" help:"Print the plan too, step by step."`
	LogFormat string `enum:"text,json" default:"text" placeholder:"text|json" env:"CAPLAUNCH_LOG_FORMAT" group:"output" help:"How caplaunch's own lines look."`
}

// launchFlags are the flags that run and explain share. A pointer tells a flag
// that is empty from one that is not there.
type launchFlags struct {
	Caps          []string `short:"c" sep:"none" placeholder:"LIST" env:"CAPLAUNCH_CAPS" group:"caps" help:"Capabilities that PROGRAM must have. If one cannot be given, nothing runs (exit 77)."`
	OptionalCaps  []string `short:"o" sep:"none" placeholder:"LIST" env:"CAPLAUNCH_OPTIONAL_CAPS" group:"caps" help:"Capabilities that it gets if they can be had; all means whatever there is."`
	Bounding      string   `enum:"keep,drop" default:"keep" placeholder:"keep|drop" env:"CAPLAUNCH_BOUNDING" group:"caps" help:"drop also cuts the bounding set to the given ones (needs SETPCAP)."`
	AllowNewPrivs bool     `env:"CAPLAUNCH_ALLOW_NEW_PRIVS" group:"caps" help:"Do not set no_new_privs."`
	StripFileCaps bool     `env:"CAPLAUNCH_STRIP_FILE_CAPS" group:"caps" help:"Run an in-memory copy of PROGRAM, which has no file capabilities and no set-id bits."`

	User       *string  `short:"u" placeholder:"USER[:GROUP]" env:"CAPLAUNCH_USER" group:"who" help:"Who PROGRAM runs as: names or numbers."`
	Groups     []string `sep:"none" placeholder:"LIST" env:"CAPLAUNCH_GROUPS" group:"who" help:"Supplementary groups, in place of the default."`
	KeepGroups bool     `group:"who" help:"Keep the supplementary groups received, less gid 0."`
	NonRoot    string   `enum:"refuse,keep" default:"refuse" placeholder:"refuse|keep" env:"CAPLAUNCH_NON_ROOT" group:"who" help:"When started as another non-root user and unable to switch: refuse, or run as it is."`
	KeepEnv    bool     `group:"who" help:"Do not set HOME, USER, LOGNAME."`

	Allow  []string `sep:"none" placeholder:"LIST" env:"CAPLAUNCH_ALLOW" group:"allow" help:"Refuse to start (exit 78) when anything outside LIST was granted."`
	Strict bool     `env:"CAPLAUNCH_STRICT" group:"allow" help:"The same, with what was asked for and what the launch needs."`
	Sets   []string `sep:"none" placeholder:"LIST" env:"CAPLAUNCH_SETS" group:"allow" help:"The sets looked at: permitted, effective, inheritable, ambient (the default), bounding."`

	IgnoreSignals []string `sep:"none" placeholder:"LIST" env:"CAPLAUNCH_IGNORE_SIGNALS" group:"process" help:"Signals that PROGRAM starts with ignored."`
	Stdio         string   `enum:"auto,keep" default:"auto" placeholder:"auto|keep" env:"CAPLAUNCH_STDIO" group:"process" help:"auto hands pipes and terminals over to the new user, so that /dev/stdout can be opened."`
}

type runCmd struct {
	launchFlags
	output
}

const description = `Moves granted capabilities into the ambient set, drops to a user with them kept, and becomes PROGRAM: no file capabilities, no parent left behind.`

var groups = []kong.Group{
	{Key: "caps", Title: "Capabilities:"},
	{Key: "who", Title: "Identity:"},
	{Key: "allow", Title: "Allowlist:"},
	{Key: "process", Title: "Process:"},
	{Key: "output", Title: "Output:"},
}

// split cuts args at the first "--". Without one, after is nil.
func split(args []string) (before, after []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], args[i+1:]
	}
	return args, nil
}

// errHelp says that the help was printed, and that this was all.
var errHelp = errors.New("help")

// maxWords bounds what stands before "--": kong's time grows with the square.
const maxWords = 1000

// newParser is kong for the grammar, which must have a field Help; what it prints
// goes to out.
func newParser(grammar any, out io.Writer) (*kong.Kong, error) {
	return kong.New(grammar, kong.Name("caplaunch"), kong.Description(description), kong.Writers(out, out),
		kong.NoDefaultHelp(), kong.Help(printHelp), kong.ExplicitGroups(groups),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }))
}

// parse reads the words before "--" with kong; after is what follows it, nil
// without one. Help goes to out. The error is a *usageError or errHelp.
func parse(args, after []string, out io.Writer) (*grammar, *kong.Context, error) {
	if len(args) > maxWords {
		return nil, nil, usagef("one flag can take a whole list: --caps=net_admin,net_raw", "%d words before --, and at most %d are read", len(args), maxWords)
	}
	wantsHelp := len(args) > 0 && args[0] == "help" && after == nil
	if wantsHelp {
		args = args[1:]
	}
	command := commandOf(args)
	var g grammar
	var lean runGrammar
	target := any(&g)
	if command == "run" {
		target = &lean
	}
	k, err := newParser(target, out)
	if err != nil {
		return nil, nil, err
	}
	// What comes behind a word that is no flag is not caplaunch's to understand.
	words := args
	misplaced := eachFlag(k, args, func(f *kong.Flag, value string) {
		wantsHelp = wantsHelp || f.Name == "help" && !isOff(value)
	})
	if misplaced >= 0 {
		words = args[:misplaced]
	}
	launches := command == "run" || command == "explain"
	wrong := slip{k, command, args, after}
	switch {
	case wantsHelp:
		return nil, nil, printUsage(command, out)
	case !launches && after != nil:
		return nil, nil, wrong.program()
	}
	if err := wrong.dashes(words); err != nil {
		return nil, nil, err
	}
	overrideVariables(k, words)
	ctx, err := k.Parse(words)
	if err != nil {
		return nil, nil, wrong.explained(err)
	}
	if target == &lean {
		g.Run = lean.Run
	}
	if misplaced >= 0 {
		flags := g.Run.launchFlags
		if command == "explain" {
			flags = g.Explain.launchFlags
		}
		if _, _, err := (&launch{flags: flags}).parse(); err != nil {
			return nil, nil, err // a hint that repeats it would not work
		}
		return nil, nil, wrong.misplaced(misplaced)
	}
	switch {
	case launches && after == nil && g.Explain.For == "":
		return nil, nil, usagef(wrong.line(args, []string{"PROGRAM"}), "no PROGRAM to run, and no --")
	case after != nil && len(after) == 0:
		return nil, nil, usagef(wrong.line(args, []string{"PROGRAM"}), "no PROGRAM behind --")
	}
	return &g, ctx, nil
}

// commandOf is the command that args begin with, or run.
func commandOf(args []string) string {
	if len(args) > 0 && slices.Contains(commands, args[0]) {
		return args[0]
	}
	return "run"
}

// printUsage prints the help of a command, and gives errHelp.
func printUsage(command string, out io.Writer) error {
	var help bytes.Buffer
	k, err := newParser(&grammar{}, &help)
	if err != nil {
		return err
	}
	ctx, err := kong.Trace(k, []string{command})
	if err != nil {
		return err
	}
	if err = ctx.PrintUsage(false); err == nil {
		_, err = help.WriteTo(out)
	}
	if err != nil {
		return err
	}
	return errHelp
}

// eachFlag calls visit for the flags among args, with the value that is joined to one
// by "=", and returns the index of the
// first word that is neither a flag, nor the value of one, nor the command in
// front, nor an argument of that: where somebody forgot the "--". It is -1
// without one.
func eachFlag(k *kong.Kong, args []string, visit func(f *kong.Flag, value string)) int {
	command := commandOf(args)
	launches := command == "run" || command == "explain"
	flags := map[string]*kong.Flag{}
	for _, n := range slices.Concat(k.Model.Children, []*kong.Node{k.Model.Node}) {
		for _, f := range n.Flags {
			flags["--"+f.Name] = f
			if f.Short != 0 {
				flags[string(f.Short)] = f
			}
		}
	}
	seen := func(name, value string) (takesValue bool) {
		f := flags[name]
		if f != nil {
			visit(f, value)
		}
		return f != nil && !f.IsBool()
	}
	for i := 0; i < len(args); i++ {
		switch w := args[i]; {
		case strings.HasPrefix(w, "--"):
			name, value, hasValue := strings.Cut(w, "=")
			if seen(name, value) && !hasValue {
				i++
			}
		case len(w) > 1 && w[0] == '-':
			// Of -qc the c takes a value: what follows it, or the next word.
			for j := 1; j < len(w); j++ {
				if seen(w[j:j+1], "") {
					if j == len(w)-1 {
						i++
					}
					break
				}
			}
		case i == 0 && w == command:
		case launches:
			return i
		}
	}
	return -1
}

// overrideVariables unsets the variable of each flag that is given: kong would
// refuse a value there that nobody asks for.
func overrideVariables(k *kong.Kong, args []string) {
	eachFlag(k, args, func(f *kong.Flag, value string) {
		for _, name := range f.Envs {
			os.Unsetenv(name)
		}
		switch { // what contradicts it
		case isOff(value):
		case f.Name == "keep-groups":
			os.Unsetenv("CAPLAUNCH_GROUPS")
		case f.Name == "quiet":
			os.Unsetenv("CAPLAUNCH_VERBOSE")
		case f.Name == "verbose":
			os.Unsetenv("CAPLAUNCH_QUIET")
		}
	})
}

// isOff reports whether the value of a switch turns it off.
func isOff(value string) bool { return value == "false" || value == "no" || value == "0" }

// printHelp is kong's help, with the commands listed below the flags of run.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	options.WrapUpperBound = 80
	if n := ctx.Selected(); n != nil && (n.Name == "run" || n.Name == "explain") {
		options.NoAppSummary = true
		fmt.Fprintf(ctx.Stdout, "Usage: caplaunch %s [FLAGS] -- PROGRAM [ARG...]\n", strings.Replace(n.Name, "run", "[run]", 1))
	}
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	if n := ctx.Selected(); n == nil || n.Name != "run" {
		return nil
	}
	w := ctx.Stdout
	fmt.Fprintln(w, "\nOther commands (caplaunch COMMAND --help):")
	for _, c := range ctx.Model.Children[1:] {
		fmt.Fprintf(w, "  %-10s%s\n", c.Name, c.Help)
	}
	_, err := fmt.Fprint(w, helpTail)
	return err
}

const helpTail = `
Each flag that has a value, and most others, can be set by a variable: --caps by
CAPLAUNCH_CAPS, --non-root by CAPLAUNCH_NON_ROOT. Flags win; empty is not set.

Exit status: PROGRAM's own; 77 a required capability cannot be given, 78 more
was granted than allowed, 125 any other failure of caplaunch, 126 PROGRAM cannot
be executed, 127 it was not found.

Example:
  docker run --cap-drop=ALL --cap-add=NET_ADMIN --cap-add=SETUID \
    --cap-add=SETGID IMAGE caplaunch -c net_admin -u 65532:65532 -- relay
`
