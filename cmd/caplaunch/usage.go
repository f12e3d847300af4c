package main

import (
	"fmt"
	"slices"
	"strings"

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
		bare, _, _ := strings.Cut(name, "=")
		isFlag := func(f flag) bool { return bare == "--"+f.name || bare == "-"+string(f.short) }
		switch oneDash, _, _ := strings.Cut(strings.TrimPrefix(w, "-"), "="); {
		case strings.HasPrefix(w, "-- "):
			return usagef(`"--", "`+strings.TrimSpace(w[3:])+`"`, "%q is one word: in the exec form -- and PROGRAM are two elements", w)
		case joined && strings.Contains(w, " -") && slices.ContainsFunc(flags, isFlag):
			return usagef(shell.Line(strings.Fields(w)...), "%q is one word: in the exec form each flag is an element", w)
		case joined && bare == name && slices.ContainsFunc(flags, isFlag):
			return usagef(strings.TrimSuffix(shell.Line(name, strings.TrimSpace(rest)), " ''"), "%q is one word: in the exec form a flag and its value are two elements", w)
		case len(w) > 2 && w[0] == '-' && w[1] != '-' && slices.ContainsFunc(flags, func(f flag) bool { return f.name == oneDash }):
			return usagef("-"+shell.Line(w), "%q has one dash, and a flag with a whole name has two", w)
		}
	}
	if l.argv != nil && !l.launches() {
		return usagef(l.text(l.before, nil), "%s takes no PROGRAM, and no --", l.command)
	}
	if s.first < 0 || !l.launches() || !s.known {
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
