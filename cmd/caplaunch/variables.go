package main

import (
	"cmp"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/near"
	"github.com/caplaunch/caplaunch/internal/shell"
)

const prefix = "CAPLAUNCH_"

// variable is the name of a flag's variable.
func variable(flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// launchVariables are those of the flags of a launch.
func launchVariables() (names []string) {
	for _, f := range flagsOf(reflect.TypeFor[runCmd]()) {
		names = append(names, variable(f.name))
	}
	return names
}

// hasVariables reports whether there is anything to look at: most starts have none.
func hasVariables(environ []string) bool {
	return slices.ContainsFunc(environ, func(kv string) bool { return strings.HasPrefix(kv, prefix) })
}

// sources knows which flags got their value from a variable.
type sources map[string]bool

// of is where the value of a flag came from, as a user spells it.
func (s sources) of(flag string) string {
	if s[flag] {
		return variable(flag)
	}
	return "--" + flag
}

// inHint spells flags in a hint as variables where variables decide their group: on the
// line they would close it. A whole line behind sudo has them all.
func (s sources) inHint(hint string) string {
	groups, open := map[string]string{}, map[string]bool{}
	for _, f := range flagsOf(reflect.TypeFor[runCmd]()) {
		groups[f.name] = f.group
		open[f.group] = open[f.group] || s[f.name]
	}
	phrase := regexp.MustCompile(`(^|caplaunch |or |without |place of |: )--[a-z-]+(=\S*[^\s,;)])?( --[a-z-]+(=\S*[^\s,;)])?)*`)
	return phrase.ReplaceAllStringFunc(hint, func(text string) string {
		before, flags, _ := strings.Cut(text, "--")
		var vars, rest []string
		for _, flag := range strings.Split(flags, " --") {
			name, value, _ := strings.Cut(flag, "=")
			switch {
			case !open[groups[name]]:
				rest = append(rest, "--"+flag)
			case before == "without ", before == "place of ":
				vars = append(vars, variable(name))
			default:
				vars = append(vars, variable(name)+"="+cmp.Or(value, "true"))
			}
		}
		if before == "caplaunch " { // as for a shell
			if before = ""; rest != nil {
				vars = append(vars, "caplaunch")
			}
		}
		return before + strings.Join(append(vars, rest...), " ")
	})
}

// variables turns CAPLAUNCH_ variables into flags. A flag on the line closes its
// whole group to them, and --strict that of the capabilities too: no variable can
// loosen what the line says. One that nobody knows is an error, since a mistyped
// CAPLAUNCH_STRICT must not start the program unchecked.
func (l *line) variables(environ []string, s scanned, flags []flag) (words []string, err error) {
	l.sources = sources{}
	closed := map[string]bool{"caps": s.used["strict"]}
	for _, f := range flags {
		if s.used[f.name] && f.group != "output" {
			closed[f.group] = true
		}
	}
	if !hasVariables(environ) {
		return nil, nil
	}
	known, isService := launchVariables(), regexp.MustCompile(service)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, prefix) || value == "" {
			continue
		}
		i := slices.IndexFunc(flags, func(f flag) bool { return variable(f.name) == name })
		checks := l.launches() || l.command == "check"
		switch {
		case !slices.Contains(known, name) && checks && !isService.MatchString(name):
			hint := "unset " + shell.Word(name)
			if meant := near.Word(name, known...); meant != "" {
				hint = meant + " in the place of " + name
			}
			return nil, usagef(hint, "the variable %s is none of caplaunch's", name)
		case i < 0 || !slices.Contains(known, name) || closed[flags[i].group] || s.used[flags[i].name]:
		case flags[i].name == "quiet" && s.used["verbose"], flags[i].name == "verbose" && s.used["quiet"]:
		default:
			l.sources[flags[i].name], s.used[flags[i].name] = true, true
			words = append(words, "--"+flags[i].name+"="+value)
		}
	}
	return words, nil
}

// A service matches what Kubernetes makes of a Service whose name begins with
// caplaunch: it is not meant for caplaunch.
const service = `^CAPLAUNCH_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)$`

// programEnviron is environ less what is caplaunch's own.
func programEnviron(environ []string) []string {
	if !hasVariables(environ) {
		return environ
	}
	known := launchVariables()
	env := make([]string, 0, len(environ)+3)
	for _, kv := range environ {
		if name, _, _ := strings.Cut(kv, "="); !slices.Contains(known, name) {
			env = append(env, kv)
		}
	}
	return env
}
