package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/near"
	"github.com/caplaunch/caplaunch/internal/origin"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// A usageError is a command line that cannot be understood, with one line that
// works in its place.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// examples has a value for each flag that takes one.
var examples = map[string]string{
	"caps": "net_admin,net_raw", "optional-caps": "net_raw", "allow": "net_admin,setgid,setuid", "bounding": "drop",
	"user": "65532:65532", "groups": "65532", "non-root": "keep", "sets": "permitted,bounding",
	"ignore-signals": "PIPE", "stdio": "keep", "log-format": "json", "for": "docker", "pid": "1",
}

// example is a flag with a value that it takes, where its own came from.
func (s sources) example(flag string) string { return s.of(flag) + "=" + examples[flag] }

// text is a command line for a shell, with PROGRAM behind "--" if there is one.
func (l *line) text(before, after []string) string {
	words := append([]string{"caplaunch"}, before...)
	if l.command != "run" {
		words = slices.Insert(words, 1, l.command)
	}
	if after != nil {
		words = append(append(words, "--"), after...)
	}
	return shell.Line(words...)
}

// misplaced finds words in front of "--" that are no flags.
func (l *line) misplaced(s scanned, flags []flag) error {
	for _, w := range l.before {
		name, rest, joined := strings.Cut(w, " ")
		isFlag := func(f flag) bool { return name == "--"+f.name || name == "-"+string(f.short) }
		switch oneDash, _, _ := strings.Cut(strings.TrimPrefix(w, "-"), "="); {
		case strings.HasPrefix(w, "-- "):
			return usagef(`"--", "`+strings.TrimSpace(w[3:])+`"`, "%q is one word: in the exec form -- and PROGRAM are two elements", w)
		case joined && slices.ContainsFunc(flags, isFlag):
			return usagef(shell.Line(name, strings.TrimSpace(rest)), "%q is one word: in the exec form a flag and its value are two elements", w)
		case len(w) > 2 && w[0] == '-' && w[1] != '-' && slices.ContainsFunc(flags, func(f flag) bool { return f.name == oneDash }):
			return usagef("-"+shell.Line(w), "%q has one dash, and a flag with a whole name has two", w)
		}
	}
	launches := l.command == "run" || l.command == "explain"
	if l.argv != nil && !launches {
		return usagef(l.text(l.before, nil), "%s takes no PROGRAM, and no --", l.command)
	}
	if s.first < 0 || !launches || !s.known {
		return nil
	}
	word, before, rest := l.before[s.first], l.before[:s.first], l.before[s.first:]
	switch user, _ := identity.Parse(word); {
	case word == "":
		return usagef(l.text(slices.Concat(before, rest[1:]), l.argv), "an empty word stands where a flag or PROGRAM can be: is a variable there that is not set?")
	case slices.Contains(commands, word) && l.command == "run" && (l.argv != nil || len(rest) == 1):
		moved := line{command: word}
		return usagef(moved.text(slices.Concat(before, rest[1:]), l.argv), "the command %s has to stand in front of its flags", word)
	case strings.HasPrefix(word, "–"), strings.HasPrefix(word, "—"):
		return usagef(l.text(slices.Concat(before, []string{"--" + strings.TrimLeft(word, "–—-")}, rest[1:]), l.argv), "%q is written with another dash than -", word)
	case l.argv != nil:
		return usagef("only flags stand in front of --, a list is one word as in --caps=net_admin,net_raw, and PROGRAM with its words stands behind --", "%q stands in front of --, where only flags can be", word)
	case s.first == 0 && len(rest) > 1 && isUser(user):
		return usagef(l.text([]string{"--user=" + word}, rest[1:]), "-- is missing in front of PROGRAM, and the user is a flag")
	}
	return usagef(l.text(before, rest), "-- is missing in front of PROGRAM")
}

// isUser reports whether a word that stands first, as with gosu and su-exec, is a
// user.
func isUser(s identity.Spec) bool {
	if s.User.Numeric || s.Group != nil {
		return true
	}
	b, _ := os.ReadFile("/etc/passwd")
	return s.User.Text != "" && strings.Contains("\n"+string(b), "\n"+s.User.Text+":")
}

// foreign are flags of docker, setpriv, capsh, su and sudo, with what to write in their place;
// VALUE is theirs.
var foreign = map[string]struct{ says, hint string }{
	"cap-add":           {"docker's, and goes in front of the image", "--caps=VALUE"},
	"cap-drop":          {"docker's, and goes in front of the image", "leave it out: what --caps does not name is dropped"},
	"privileged":        {"docker's, and goes in front of the image", "--caps=net_admin, with the capabilities that PROGRAM needs"},
	"ambient-caps":      {"setpriv's", "--caps=VALUE"},
	"inh-caps":          {"setpriv's", "--caps=VALUE"},
	"bounding-set":      {"setpriv's", "--bounding=drop"},
	"reuid":             {"setpriv's", "--user=VALUE"},
	"ruid":              {"setpriv's", "--user=VALUE"},
	"euid":              {"setpriv's", "--user=VALUE"},
	"regid":             {"setpriv's", "--user=USER:VALUE"},
	"rgid":              {"setpriv's", "--user=USER:VALUE"},
	"egid":              {"setpriv's", "--user=USER:VALUE"},
	"clear-groups":      {"setpriv's", "leave it out: the groups are those of --user"},
	"init-groups":       {"setpriv's", "leave it out: a name in --user brings its groups"},
	"no-new-privs":      {"setpriv's", "leave it out: no_new_privs is set"},
	"no-new-privileges": {"docker's", "leave it out: no_new_privs is set"},
	"addamb":            {"capsh's", "--caps=VALUE"},
	"inh":               {"capsh's", "--caps=VALUE"},
	"drop":              {"capsh's", "leave it out: what --caps does not name is dropped"},
	"keep":              {"capsh's", "leave it out: the capabilities of --caps are kept"},
	"uid":               {"capsh's", "--user=VALUE"},
	"gid":               {"capsh's", "--user=USER:VALUE"},
	"gids":              {"capsh's", "--groups=VALUE"},
	"group-add":         {"docker's, and goes in front of the image", "--groups=VALUE, or --keep-groups to keep those that docker adds"},
	"group":             {"su's", "--user=USER:VALUE"},
	"g":                 {"su's", "--user=USER:VALUE"},
	"preserve-env":      {"sudo's", "leave it out: the environment is kept; --keep-env keeps HOME, USER and LOGNAME too"},
}

// explained is kong's error, with a hint.
func (l *line) explained(err error) error {
	text := err.Error()
	if m := regexp.MustCompile(`^unknown flag --?([a-z-]+)`).FindStringSubmatch(text); m != nil {
		if f, ok := foreign[m[1]]; ok && (l.command == "run" || l.command == "explain") {
			hint := strings.ReplaceAll(f.hint, "VALUE", shell.Word(l.given(m[1], f.hint)))
			if user := l.given("reuid", "") + l.given("uid", ""); user != "" {
				hint = strings.ReplaceAll(hint, "USER", shell.Word(user))
			} else if user := l.given("user", ""); user != "" {
				hint = strings.ReplaceAll(hint, "USER", shell.Word(user))
			}
			return usagef(hint, "the flag %s is %s", m[1], f.says)
		}
	}
	hint := strings.Replace("caplaunch "+l.command+" --help shows the flags", " run ", " ", 1)
	if m := regexp.MustCompile(`--([a-z-]+)`).FindStringSubmatch(text); m != nil && examples[m[1]] != "" {
		hint = l.sources.example(m[1])
		text = strings.Replace(text, "--"+m[1], l.sources.of(m[1]), 1)
		if meant := regexp.MustCompile(`did you mean "(--[a-z-]+)"`).FindStringSubmatch(text); meant != nil {
			hint = meant[1]
			if value := l.given(m[1], ""); value != "" {
				hint += "=" + shell.Word(value)
			}
		}
	}
	switch {
	case l.command == "check" && strings.HasPrefix(text, "missing flags"):
		hint = "caplaunch check --allow=net_admin,net_raw"
	case l.command == "install":
		hint = "caplaunch install /shared"
	case l.command == "show":
		hint = "caplaunch show 1"
	}
	const most = 300
	return usagef(hint, "%s", text[:min(len(text), most)])
}

// given is the value of a flag as it was written. Where a list is wanted, the "+" of
// setpriv is left out.
func (l *line) given(name, hint string) string {
	value := ""
	for i, w := range l.before {
		for _, flag := range []string{"--" + name, "-" + name, "-" + name[:1]} {
			if v, ok := strings.CutPrefix(w, flag+"="); ok {
				value = v
			} else if w == flag && i+1 < len(l.before) && !strings.HasPrefix(l.before[i+1], "-") {
				value = l.before[i+1]
			}
		}
	}
	if strings.HasPrefix(hint, "--caps") {
		words := slices.DeleteFunc(ambient.Fields(value), func(w string) bool { return strings.HasPrefix(w, "-") })
		value = strings.ReplaceAll(strings.ToLower(strings.Join(words, ",")), "+", "")
		if value == "" {
			value = "net_admin"
		}
	}
	return value
}

// asked is what the flags of a launch ask for, understood.
type asked struct {
	req    ambient.Request
	user   *identity.Spec
	groups []identity.Name
	ignore origin.Signals
}

// ask reads the values of the flags. The error is a *usageError.
func (f *launchFlags) ask(s sources) (a asked, err error) {
	r := &a.req
	if r.Required, err = s.list("caps", f.Caps); err != nil {
		return a, err
	}
	if r.Optional, err = s.list("optional-caps", f.OptionalCaps); err != nil {
		return a, err
	}
	if f.Allow != nil {
		allow, err := s.list("allow", f.Allow)
		if err != nil {
			return a, err
		}
		r.Allow = &allow
	}
	if r.Sets, err = s.sets(f.Sets); err != nil {
		return a, err
	}
	switch {
	case f.Sets != nil && f.Allow == nil && !f.Strict:
		return a, usagef("--strict, or "+s.example("allow")+", beside it", "%s says which sets an allowlist looks at, and there is none", s.of("sets"))
	case f.Strict && (r.Required.All || r.Optional.All):
		return a, usagef("--caps=net_admin, with the capabilities that PROGRAM needs in the place of all", "--strict refuses what was not asked for, and all asks for everything")
	}
	if f.User != nil {
		spec, err := identity.Parse(*f.User)
		if err != nil {
			return a, usagef(s.example("user")+unexpanded(*f.User), "%s: %w", s.of("user"), err)
		}
		a.user = &spec
	}
	if f.Groups != nil {
		if a.groups, err = identity.ParseGroups(f.Groups...); err != nil {
			return a, usagef(s.example("groups")+unexpanded(f.Groups...)+", or leave it out for the groups of --user", "%s: %w", s.of("groups"), err)
		}
	}
	if a.ignore, err = parseSignals(f.IgnoreSignals); err != nil || f.IgnoreSignals != nil && a.ignore == 0 {
		hint := s.example("ignore-signals")
		var unknown *signalError
		if errors.As(err, &unknown) && unknown.Near != "" {
			hint = s.of("ignore-signals") + "=" + unknown.Near
		} else if err == nil {
			err = errors.New("an empty list of signals")
		}
		return a, usagef(hint, "%s: %w", s.of("ignore-signals"), err)
	}
	r.Strict, r.KeepGroups, r.KeepNonRoot = f.Strict, f.KeepGroups, f.NonRoot == "keep"
	r.Bounding = map[string]ambient.Bounding{"drop": ambient.CutBounding, "try": ambient.TryBounding}[f.Bounding]
	r.AllowNewPrivs = f.AllowNewPrivs
	return a, nil
}

// list reads a list of capabilities.
func (s sources) list(flag string, lists []string) (ambient.List, error) {
	l, err := ambient.ParseList(lists...)
	if err == nil {
		return l, nil
	}
	hint := s.example(flag) + unexpanded(lists...)
	var unknown *ambient.UnknownCapError
	if errors.As(err, &unknown) && unknown.Near() != "" {
		hint = s.of(flag) + "=" + shell.Word(strings.ReplaceAll(strings.Join(lists, ","), unknown.Name, unknown.Near()))
	}
	return l, usagef(hint, "%s: %w", s.of(flag), err)
}

// sets reads a list of sets; nil is the default.
func (s sources) sets(lists []string) (ambient.SetMask, error) {
	if lists == nil {
		return ambient.DefaultSets, nil
	}
	sets, err := ambient.ParseSets(lists...)
	if err != nil {
		hint := s.example("sets")
		var unknown *ambient.UnknownSetError
		if errors.As(err, &unknown) {
			if meant := near.Word(strings.ToLower(unknown.Name), (ambient.DefaultSets | ambient.InBounding).Names()...); meant != "" {
				hint = s.of("sets") + "=" + shell.Word(strings.ReplaceAll(strings.Join(lists, ","), unknown.Name, meant))
			}
		}
		return 0, usagef(hint, "%s: %w", s.of("sets"), err)
	}
	return sets, nil
}

// unexpanded is added to the hint for a value in which a variable was to stand.
func unexpanded(values ...string) string {
	if !strings.Contains(strings.Join(values, ""), "$") {
		return ""
	}
	return ` (the exec form expands no $: set the variable of the flag, such as ENV CAPLAUNCH_CAPS, or write ENTRYPOINT ["/bin/sh", "-c", "exec caplaunch …"])`
}

// programSlip is the hint for a PROGRAM that was not found, where its name shows a
// slip.
func (l *line) programSlip() string {
	name, rest := l.argv[0], l.argv[1:]
	switch words := strings.Fields(name); {
	case strings.HasPrefix(name, "$"):
		return "write the program itself" + unexpanded(name)
	case len(words) > 1:
		return l.text(l.before, append(words, rest...)) + ` (in the exec form each word is an element: "` + strings.Join(words, `", "`) + `")`
	case name == "cd":
		return "WORKDIR in the Dockerfile, working_dir or workingDir: cd is the shell's own, no program"
	case strings.Contains(name, "=") && !strings.Contains(name, "/"):
		return l.text(l.before, append([]string{"env"}, l.argv...))
	}
	return ""
}
