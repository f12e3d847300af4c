package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// grammar is the command line in front of the first "--". What follows it
// belongs to the program, and kong never sees it. Every flag of a launch has a
// variable: --keep-env has CAPLAUNCH_KEEP_ENV.
type grammar struct {
	Help    bool       `short:"h" help:"Show context-sensitive help."`
	Run     runCmd     `cmd:"" default:"withargs" help:"Launch PROGRAM with the asked-for capabilities; the default."`
	Explain explainCmd `cmd:"" help:"Say what run would do: take every step, but start nothing."`
	Check   checkCmd   `cmd:"" help:"Fail when more capabilities were granted than a list allows."`
	Show    showCmd    `cmd:"" help:"Print the identity and the capability sets of a process."`
	Install installCmd `cmd:"" help:"Copy this binary to a path, as an init container does."`
	Version versionCmd `cmd:"" help:"Print version, commit, Go version and platform."`
}

// launchFlags are the flags that run and explain share. A pointer, or a nil
// slice, tells a flag that is empty from one that is not there.
type launchFlags struct {
	Caps          []string `name:"caps" short:"c" sep:"none" placeholder:"LIST" group:"caps" help:"Capabilities that PROGRAM must have. If one cannot be given, nothing runs (exit 77)."`
	OptionalCaps  []string `name:"optional-caps" short:"o" sep:"none" placeholder:"LIST" group:"caps" help:"Capabilities that it gets if they can be had; all means whatever there is."`
	Bounding      string   `name:"bounding" enum:"keep,drop,try" default:"keep" placeholder:"keep|drop|try" group:"caps" help:"drop also cuts the bounding set to the given ones (needs SETPCAP); try does where it can."`
	AllowNewPrivs bool     `name:"allow-new-privs" group:"caps" help:"Do not set no_new_privs."`
	StripFileCaps bool     `name:"strip-file-caps" group:"caps" help:"Run an in-memory copy of PROGRAM, which has no file capabilities and no set-id bits."`

	User       *string  `name:"user" short:"u" placeholder:"USER[:GROUP]" group:"who" help:"Who PROGRAM runs as: names or numbers."`
	Groups     []string `name:"groups" sep:"none" placeholder:"LIST" group:"who" help:"Supplementary groups, in place of USER's memberships."`
	KeepGroups bool     `name:"keep-groups" group:"who" help:"Keep the supplementary groups that the runtime added (fsGroup, --group-add)."`
	NonRoot    string   `name:"non-root" enum:"refuse,keep" default:"refuse" placeholder:"refuse|keep" group:"who" help:"When started as another non-root user and unable to switch: refuse, or run as it is."`
	KeepEnv    bool     `name:"keep-env" group:"who" help:"Do not set HOME, USER, LOGNAME."`

	Allow  []string `name:"allow" sep:"none" placeholder:"LIST" group:"allow" help:"Refuse to start (exit 78) when anything outside LIST was granted."`
	Strict bool     `name:"strict" group:"allow" help:"The same, with what was asked for and what the launch needs."`
	Sets   []string `name:"sets" sep:"none" placeholder:"LIST" group:"allow" help:"The sets looked at: permitted, effective, inheritable, ambient (the default), bounding."`

	IgnoreSignals []string `name:"ignore-signals" sep:"none" placeholder:"LIST" group:"process" help:"Signals that PROGRAM starts with ignored."`
	Stdio         string   `name:"stdio" enum:"auto,keep" default:"auto" placeholder:"auto|keep" group:"process" help:"auto lets the new user open /dev/stdout and the like; keep leaves them alone."`
}

// output says how caplaunch's own lines look.
type output struct {
	Quiet     bool   `name:"quiet" short:"q" group:"output" help:"Print errors only."`
	Verbose   bool   `name:"verbose" short:"v" group:"output" help:"Print the plan too, step by step."`
	LogFormat string `name:"log-format" enum:"text,json" default:"text" placeholder:"text|json" group:"output" help:"How caplaunch's own lines look."`
}

type runCmd struct {
	launchFlags
	output
}

type explainCmd struct {
	launchFlags
	output
	For  string `name:"for" placeholder:"PLACE" enum:",docker,podman,compose,kubernetes,systemd" default:"" help:"Print only the smallest grant, as text to paste: docker, podman, compose, kubernetes or systemd. Needs no privilege and no PROGRAM."`
	JSON bool   `name:"json" help:"Print JSON."`
}

// logFormat is the flag for commands that have no line but an error.
type logFormat struct {
	LogFormat string `name:"log-format" enum:"text,json" default:"text" placeholder:"text|json" group:"output" help:"How caplaunch's own lines look."`
}

type checkCmd struct {
	logFormat
	Allow []string `name:"allow" sep:"none" required:"" placeholder:"LIST" group:"allow" help:"Capabilities that may be granted; none means not one."`
	Sets  []string `name:"sets" sep:"none" placeholder:"LIST" group:"allow" help:"The sets looked at: permitted, effective, inheritable, ambient (the default), bounding."`
	PID   *pid     `name:"pid" placeholder:"N" help:"Look at another process, in /proc/N."`
	JSON  bool     `name:"json" help:"Print the outcome as JSON."`
}

type showCmd struct {
	logFormat
	PID  *pid `arg:"" optional:"" name:"pid" help:"The process to look at; caplaunch itself without."`
	JSON bool `name:"json" help:"Print JSON."`
}

type installCmd struct {
	logFormat
	Dest string `arg:"" help:"A folder, or the path of the copy."`
}

type versionCmd struct {
	Verbose bool `name:"verbose" short:"v" help:"Say too whether this build passes the signals on that it was started with."`
	JSON    bool `name:"json" help:"Print JSON."`
}

// commands are the words that name one.
var commands = []string{"run", "explain", "check", "show", "install", "version"}

const description = `Moves granted capabilities into the ambient set, drops to a user with them kept, and becomes PROGRAM: no file capabilities, no parent left behind.`

// A line is a command line that was understood.
type line struct {
	grammar
	command string
	before  []string // in front of "--", less the command
	argv    []string // behind it; nil without "--"
	fromEnv []string // flags that variables stand for
	sources sources
}

func (l *line) launches() bool { return l.command == "run" || l.command == "explain" }

// errHelp says that the help was printed, and that this was all.
var errHelp = errors.New("help")

// maxWords bounds what stands before "--": kong's time grows with the square.
const maxWords = 1000

// parse reads the words of a command line and the variables. Help goes to out.
// The error is a *usageError or errHelp.
func parse(args, environ []string, out io.Writer) (*line, error) {
	l := &line{command: "run", before: args}
	if i := slices.Index(args, "--"); i >= 0 {
		l.before, l.argv = args[:i], args[i+1:]
	}
	if len(l.before) > maxWords {
		return nil, usagef("one flag can take a whole list: --caps=net_admin,net_raw", "%d words before --, and at most %d are read", len(l.before), maxWords)
	}
	switch first := append(l.before, "")[0]; {
	case slices.Contains(commands, first), first == "--version":
		l.command, l.before = strings.TrimPrefix(first, "--"), l.before[1:]
	case first == "help" && l.argv == nil && len(l.before) < 3:
		if asked := append(l.before, "")[1]; slices.Contains(commands, asked) {
			l.command = asked
		}
		return nil, printUsage(l.command, out)
	}
	cmd := map[string]any{"run": &l.Run, "explain": &l.Explain, "check": &l.Check, "show": &l.Show, "install": &l.Install, "version": &l.Version}[l.command]
	flags := flagsOf(reflect.TypeOf(cmd).Elem())
	s := scan(l.before, flags, l.launches())
	if s.help {
		return nil, printUsage(l.command, out)
	}
	if err := l.misplaced(s, flags); err != nil {
		return nil, err
	}
	var err error
	if l.fromEnv, err = l.variables(environ, s, flags); err != nil {
		return nil, err
	}
	if err := s.read(cmd, flags, slices.Concat(l.fromEnv, l.before)); err != nil {
		return nil, l.explained(err)
	}
	switch {
	case l.launches() && l.argv == nil && l.Explain.For == "":
		return nil, usagef(l.text(l.before, []string{"PROGRAM"}), "no PROGRAM to run, and no --")
	case l.argv != nil && len(l.argv) == 0:
		return nil, usagef(l.text(l.before, []string{"PROGRAM"}), "no PROGRAM behind -- (an ENTRYPOINT in shell form does not pass CMD on)")
	}
	return l, nil
}

// A flag is one of a command's, as its struct describes it, less what is for the
// help.
type flag struct {
	reflect.StructField
	name, group string
	short       byte // 0 without one
	isBool      bool
}

// flagsOf lists the flags and arguments of a command, by its struct.
func flagsOf(cmd reflect.Type) []flag { return appendFlags(make([]flag, 0, 24), cmd) }

func appendFlags(all []flag, cmd reflect.Type) []flag {
	for i := range cmd.NumField() {
		f := cmd.Field(i)
		if f.Anonymous {
			all = appendFlags(all, f.Type)
			continue
		}
		tag, _, _ := strings.Cut(string(f.Tag), " help:")
		f.Tag = reflect.StructTag(tag)
		short := append([]byte(f.Tag.Get("short")), 0)[0]
		all = append(all, flag{f, f.Tag.Get("name"), f.Tag.Get("group"), short, f.Type.Kind() == reflect.Bool})
	}
	return all
}

// A scanned is what can be told of words without understanding them.
type scanned struct {
	used  map[string]bool // names of the flags that are there
	first int             // the first word that is no flag, nor the value of one; -1 without
	known bool            // no flag is unknown
	help  bool            // the help is asked for
}

// scan goes over words as kong does. Of a launch the first that is no flag, nor the
// value of one, ends it: "--" is missing in front of PROGRAM, or the word is a mistake.
func scan(words []string, flags []flag, launches bool) scanned {
	s := scanned{used: map[string]bool{}, first: -1, known: true}
	use := func(match func(flag) bool) (takesValue bool) {
		i := slices.IndexFunc(flags, match)
		if i < 0 {
			s.known = false
			return false
		}
		s.used[flags[i].name] = true
		return !flags[i].isBool
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "--help" || w == "-h":
			s.help = true
		case strings.HasPrefix(w, "--"):
			name, _, hasValue := strings.Cut(w[2:], "=")
			if use(func(f flag) bool { return f.name == name }) && !hasValue {
				i++
			}
		case len(w) > 1 && w[0] == '-':
			// Of -qc the c takes a value: what follows it, or the next word.
			for j := 1; j < len(w); j++ {
				if use(func(f flag) bool { return f.short == w[j] }) {
					if j == len(w)-1 {
						i++
					}
					break
				}
			}
		case s.first < 0:
			if s.first = i; launches {
				return s
			}
		}
	}
	return s
}

// read fills cmd with what words say. kong is only given the flags that are
// used: its model costs time for every flag. Where one is unknown it is given
// all, to suggest the nearest.
func (s scanned) read(cmd any, flags []flag, words []string) error {
	var fields []reflect.StructField
	for _, f := range flags {
		_, isArg := f.Tag.Lookup("arg")
		if _, required := f.Tag.Lookup("required"); s.used[f.name] || required || isArg || !s.known {
			fields = append(fields, f.StructField)
		}
	}
	part := reflect.New(reflect.StructOf(fields))
	k, err := kong.New(part.Interface(), kong.NoDefaultHelp())
	if err != nil {
		return err
	}
	if _, err := k.Parse(words); err != nil {
		return err
	}
	for i, f := range fields {
		reflect.ValueOf(cmd).Elem().FieldByName(f.Name).Set(part.Elem().Field(i))
	}
	return nil
}

// newParser is kong for a grammar; what it prints goes to out.
func newParser(grammar any, out io.Writer) (*kong.Kong, error) {
	groups := []kong.Group{
		{Key: "caps", Title: "Capabilities:"},
		{Key: "who", Title: "Identity:"},
		{Key: "allow", Title: "Allowlist:"},
		{Key: "process", Title: "Process:"},
		{Key: "output", Title: "Output:"},
	}
	return kong.New(grammar, kong.Name("caplaunch"), kong.Description(description), kong.Writers(out, out),
		kong.NoDefaultHelp(), kong.Help(printHelp), kong.ExplicitGroups(groups),
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }))
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

// printHelp is kong's help, with the commands listed below the flags of run.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	options.WrapUpperBound = 80
	n := ctx.Selected()
	if n != nil && (n.Name == "run" || n.Name == "explain") {
		options.NoAppSummary = true
		fmt.Fprintf(ctx.Stdout, "Usage: caplaunch %s [FLAGS] -- PROGRAM [ARG...]\n", strings.Replace(n.Name, "run", "[run]", 1))
	}
	if err := kong.DefaultHelpPrinter(options, ctx); err != nil {
		return err
	}
	if n == nil || n.Name != "run" {
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
Each flag can be set by a variable: --caps by CAPLAUNCH_CAPS. A flag of a group
above closes the whole group to variables. Empty is not set.

Exit status: PROGRAM's own; 77 a required capability cannot be given, 78 more
was granted than allowed, 125 any other failure of caplaunch, 126 PROGRAM cannot
be executed, 127 it was not found.

Example:
  docker run --cap-drop=ALL --cap-add=NET_ADMIN --cap-add=SETUID \
    --cap-add=SETGID IMAGE caplaunch -c net_admin -u 65532:65532 -- relay
`
