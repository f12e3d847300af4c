package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/near"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// foreign are flags of other tools, with what to write in their place: CAPS and
// USER stand for what was written.
var foreign = [...]struct{ flags, whose, hint string }{
	{"cap-add", "docker's, and goes in front of the image", "--caps=CAPS"},
	{"env e name rm it i t p publish volume mount network workdir w entrypoint", "docker's", "write it in front of the image's name: it is for docker run"},
	{"cap-drop drop", "docker's, and goes in front of the image", "leave it out: what --caps does not name is dropped"},
	{"privileged", "docker's, and goes in front of the image", "--caps=net_admin, with the capabilities that PROGRAM needs"},
	{"group-add", "docker's, and goes in front of the image", "--keep-groups, which keeps the groups that docker adds"},
	{"no-new-privileges no-new-privs", "docker's or setpriv's", "leave it out: no_new_privs is set"},
	{"ambient-caps inh-caps addamb inh capabilities", "setpriv's or capsh's", "--caps=CAPS"},
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
			if slices.Contains(strings.Fields(f.flags), m[1]) && l.launches() {
				text = "the flag " + m[1] + " is " + f.whose
				hint = strings.NewReplacer("CAPS", l.givenCaps(m[1]), "USER", l.givenUser()).Replace(f.hint)
			}
		}
	} else if m := match(`^--([a-z-]+): bool value`); m != nil {
		text, hint = l.sources.of(m[1])+strings.TrimPrefix(text, "--"+m[1]), l.sources.of(m[1])+"=true, or =false"
	} else if m := match(`^--([a-z-]+) must be one of (?:"",)?"(.*)" but got "(.*)"`); m != nil {
		options := strings.Split(m[2], `","`)
		text = l.sources.of(m[1]) + strings.TrimPrefix(text, "--"+m[1])
		hint = l.sources.of(m[1]) + "=" + cmp.Or(near.Word(strings.ToLower(m[3]), options...), strings.Join(options, " or "))
	} else if m := match(`^--([a-z-]+)(: expected \S+ value but got.*|: missing value.*)?`); m != nil && sample(m[1]) != "" {
		says := text[len(m[0]):]
		if m[2] != "" {
			says = " has no value"
		}
		text, hint = l.sources.of(m[1])+says, l.sources.example(m[1])
	}
	text, _, _ = strings.Cut(text, ", did you mean one of") // of one letter every other is near
	text = strings.Replace(text, `"",`, "", 1)
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
	user, group, _ := strings.Cut(l.given("user", "u", "reuid", "uid"), ":")
	group = cmp.Or(l.given("regid", "gid", "group", "g"), group, "GROUP")
	return shell.Word(cmp.Or(user, "USER") + ":" + group)
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
		return l.text(l.before, []string{"sh", "-c", text}) + " # only a shell reads that"
	}
	clean := strings.Trim(name, " \t\r\n'\"")
	switch {
	case len(words) == 0:
		return ""
	case clean != name && clean != "" && strings.Trim(clean, "|&;<>'\"$* ") == clean && len(words) == 1:
		return l.text(l.before, append([]string{clean}, l.argv[1:]...))
	case name == "--" && len(l.argv) > 1:
		return l.text(l.before, l.argv[1:])
	case name[0] == '-':
		return "caplaunch's own flags stand in front of --, and PROGRAM right behind it"
	case name[0] == '~':
		return "write the whole path: only a shell reads ~"
	case len(words) > 1 && strings.ContainsAny(name, "|&;<>'\"$*"):
		return byShell(name)
	case words[0] == "cd":
		return "WORKDIR in the Dockerfile, working_dir or workingDir: cd is the shell's own, no program"
	case slices.Contains([]string{"export", "exec", "ulimit", "umask", "source", "set", "eval", "."}, words[0]):
		return byShell(strings.Join(l.argv, " "))
	case len(words) > 1:
		return l.text(l.before, append(words, l.argv[1:]...)) + ` # in the exec form: "` + strings.Join(words, `", "`) + `"`
	case strings.HasPrefix(name, "$"):
		return "write the program itself" + unexpanded(name)
	case strings.Contains(name, "=") && !strings.Contains(name, "/"):
		return l.text(l.before, append([]string{"env"}, l.argv...))
	}
	return ""
}
