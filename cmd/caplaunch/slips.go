package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
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

// sample is a value that a flag takes, "" for a switch.
func sample(flag string) string {
	return map[string]string{
		"caps": "net_admin,net_raw", "optional-caps": "net_raw", "allow": "net_admin,setgid,setuid", "bounding": "drop",
		"user": "65532:65532", "groups": "65532", "non-root": "keep", "sets": "permitted,bounding",
		"ignore-signals": "PIPE", "stdio": "keep", "log-format": "json", "for": "docker", "pid": "1",
	}[flag]
}

// example is a flag with a value that it takes, where its own came from.
func (s sources) example(flag string) string { return s.of(flag) + "=" + sample(flag) }

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
	switch {
	case word == "":
		return usagef(l.text(slices.Concat(before, rest[1:]), l.argv), "an empty word stands where a flag or PROGRAM can be: is a variable there that is not set?")
	case slices.Contains(commands, word) && l.command == "run" && (l.argv != nil || len(rest) == 1):
		moved := line{command: word}
		return usagef(moved.text(slices.Concat(before, rest[1:]), l.argv), "the command %s has to stand in front of its flags", word)
	case strings.HasPrefix(word, "–"), strings.HasPrefix(word, "—"):
		return usagef(l.text(slices.Concat(before, []string{"--" + strings.TrimLeft(word, "–—-")}, rest[1:]), l.argv), "%q is written with another dash than -", word)
	case l.argv != nil:
		return usagef("only flags stand in front of --, a list is one word as in --caps=net_admin,net_raw, and PROGRAM with its words stands behind --", "%q stands in front of --, where only flags can be", word)
	case s.first == 0 && len(rest) > 1 && isUser(word):
		return usagef(l.text([]string{"--user=" + word}, rest[1:]), "-- is missing in front of PROGRAM, and the user is a flag")
	}
	return usagef(l.text(before, rest), "-- is missing in front of PROGRAM")
}

// isUser reports whether a word is a user, as gosu and su-exec have it first.
func isUser(word string) bool {
	s, err := identity.Parse(word)
	b, _ := os.ReadFile("/etc/passwd")
	return err == nil && (s.User.Numeric || s.Group != nil || strings.Contains("\n"+string(b), "\n"+word+":"))
}

// foreign are flags of other tools, with what to write in their place: CAPS and
// USER stand for what was written.
var foreign = [...]struct{ flags, whose, hint string }{
	{"cap-add", "docker's, and goes in front of the image", "--caps=CAPS"},
	{"cap-drop", "docker's, and goes in front of the image", "leave it out: what --caps does not name is dropped"},
	{"privileged", "docker's, and goes in front of the image", "--caps=net_admin, with the capabilities that PROGRAM needs"},
	{"group-add", "docker's, and goes in front of the image", "--keep-groups, which keeps the groups that docker adds"},
	{"no-new-privileges no-new-privs", "docker's or setpriv's", "leave it out: no_new_privs is set"},
	{"ambient-caps inh-caps addamb inh", "setpriv's or capsh's", "--caps=CAPS"},
	{"bounding-set", "setpriv's", "--bounding=drop"},
	{"reuid regid uid gid", "setpriv's or capsh's", "--user=USER"},
	{"group g", "su's", "--user=USER"},
	{"gids", "capsh's", "--groups=GID, with the numbers of the groups"},
	{"clear-groups init-groups", "setpriv's", "leave it out: the groups are those of --user"},
	{"keep", "capsh's", "leave it out: what --caps names is kept"},
	{"preserve-env", "sudo's", "leave it out: the environment is kept, and --keep-env keeps HOME, USER and LOGNAME too"},
}

// explained is kong's error, with a hint.
func (l *line) explained(err error) error {
	text := err.Error()
	hint := strings.Replace("caplaunch "+l.command+" --help shows the flags", " run ", " ", 1)
	match := func(pattern string) []string { return regexp.MustCompile(pattern).FindStringSubmatch(text) }
	if m := match(`^unknown flag --?([a-z-]+)(?:, did you mean "--([a-z-]+)")?`); m != nil {
		if m[2] != "" {
			hint = "--" + m[2] + strings.TrimSuffix("="+shell.Word(l.given(m[1])), "=''")
		}
		for _, f := range foreign {
			if slices.Contains(strings.Fields(f.flags), m[1]) && (l.command == "run" || l.command == "explain") {
				text = "the flag " + m[1] + " is " + f.whose
				hint = strings.NewReplacer("CAPS", l.givenCaps(m[1]), "USER", l.givenUser()).Replace(f.hint)
			}
		}
	} else if m := match(`^--([a-z-]+): bool value`); m != nil {
		hint = l.sources.of(m[1]) + "=true, or =false"
	} else if m := match(`^--([a-z-]+)(: expected \S+ value but got.*|: missing value.*)?`); m != nil && sample(m[1]) != "" {
		says := text[len(m[0]):]
		if m[2] != "" {
			says = " has no value"
		}
		text, hint = l.sources.of(m[1])+says, l.sources.example(m[1])
	}
	switch {
	case l.command == "check" && strings.HasPrefix(text, "missing flags"):
		hint = "caplaunch check --allow=net_admin,net_raw"
	case l.command == "install" && strings.HasPrefix(text, "expected"):
		text, hint = "install needs to be told where to: DEST, a folder or a path, is missing", "caplaunch install /shared"
	case l.command == "show":
		text, hint = strings.TrimPrefix(text, "[<pid>]: "), "caplaunch show 1"
	}
	const most = 300
	return usagef(hint, "%s", text[:min(len(text), most)])
}

// given is the value of the first of the flags that is there, as it was written.
func (l *line) given(names ...string) string {
	for i, w := range l.before {
		flag, value, joined := strings.Cut(w, "=")
		switch {
		case !slices.Contains(names, strings.TrimLeft(flag, "-")) || w[0] != '-':
		case joined:
			return value
		case i+1 < len(l.before) && !strings.HasPrefix(l.before[i+1], "-"):
			return l.before[i+1]
		}
	}
	return ""
}

// givenUser is what the flags of several tools name, with a word for what they do not.
func (l *line) givenUser() string {
	user, group, _ := strings.Cut(l.given("user", "u", "reuid", "uid")+":", ":")
	if other := l.given("regid", "gid", "group", "g"); other != "" {
		group = other
	}
	group = strings.TrimSuffix(group, ":")
	if user == "" {
		user = "USER"
	}
	if group == "" {
		group = "GROUP"
	}
	return shell.Word(user + ":" + group)
}

// givenCaps are the capabilities that a list of docker, setpriv(1) or capsh(1) adds.
func (l *line) givenCaps(flag string) string {
	words := slices.DeleteFunc(ambient.Fields(strings.ReplaceAll(l.given(flag), "+", "")), func(w string) bool { return w[0] == '-' })
	if list, err := ambient.ParseList(words...); err == nil && !list.All {
		return list.Set.String()
	}
	return sample("caps")
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
	name := l.argv[0]
	words := strings.Fields(name)
	byShell := func(text string) string {
		return l.text(l.before, []string{"sh", "-c", text}) + " (only a shell reads that)"
	}
	switch {
	case len(words) == 0:
		return ""
	case len(words) > 1 && strings.ContainsAny(name, "|&;<>'\"$*"):
		return byShell(name)
	case words[0] == "cd":
		return "WORKDIR in the Dockerfile, working_dir or workingDir: cd is the shell's own, no program"
	case slices.Contains([]string{"export", "exec", "ulimit", "umask", "source", "set", "eval", "."}, words[0]):
		return byShell(strings.Join(l.argv, " "))
	case len(words) > 1:
		return l.text(l.before, append(words, l.argv[1:]...)) + ` (in the exec form each word is an element: "` + strings.Join(words, `", "`) + `")`
	case strings.HasPrefix(name, "$"):
		return "write the program itself" + unexpanded(name)
	case strings.Contains(name, "=") && !strings.Contains(name, "/"):
		return l.text(l.before, append([]string{"env"}, l.argv...))
	}
	return ""
}
