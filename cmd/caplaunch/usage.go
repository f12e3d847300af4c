package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A usageError is a command line that cannot be understood.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// ExitStatus is 125.
func (*usageError) ExitStatus() int { return ambient.ExitFailure }

func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

const helpHint = "caplaunch --help shows the flags"

// sample is a value that a flag takes.
func sample(flag string) string {
	switch flag {
	case "caps", "optional-caps", "allow":
		return "net_admin,net_raw"
	case "user":
		return "65532:65532"
	case "groups":
		return "65532"
	case "sets":
		return ambient.DefaultSets.String()
	case "ignore-signals":
		return "PIPE"
	}
	return "1"
}

// meantBy is the flag that somebody means who writes one of docker, setpriv and
// the like: "" where caplaunch does it anyway.
func meantBy(flag string) (meant string, ok bool) {
	switch flag {
	case "cap-add", "cap", "capability", "capabilities", "ambient-caps", "inh-caps":
		return "caps", true
	case "uid", "reuid":
		return "user", true
	case "cap-drop", "no-new-privs", "no-new-privileges", "clear-groups":
		return "", true
	}
	return "", false
}

// explained is kong's error in the words of caplaunch, with a hint to paste. The
// command is the one that args begin with.
func explained(k *kong.Kong, command string, args []string, err error) error {
	text := err.Error()
	match := func(pattern string) []string { return regexp.MustCompile(pattern).FindStringSubmatch(text) }
	const quoted = `("(?:[^"\\]|\\.)*")`
	if m := match(`^unknown flag --([a-z-]+)(?:, did you mean(?: one of)? "--([a-z-]+)")?`); m != nil {
		flag, near := m[1], m[2]
		meant, known := meantBy(flag)
		if !known {
			meant = near
		}
		switch {
		case known && meant == "":
			return usagef("leave --"+flag+" out: what --caps does not name is dropped anyway, and no_new_privs set", "unknown flag --%s", flag)
		case meant != "":
			return usagef("--"+meant+valueOf(k, args, flag, meant), "unknown flag --%s, did you mean --%s?", flag, meant)
		}
	}
	if m := match(`^--([a-z-]+) must be one of (\S+) but got ` + quoted); m != nil {
		words := strings.Split(strings.ReplaceAll(strings.TrimPrefix(m[2], `"",`), `"`, ""), ",")
		return usagef(source(m[1])+"="+words[0], "%s is %s, and not %s", source(m[1]), m[3], strings.Join(words, " or "))
	}
	if m := match(`^--([a-z-]+): bool value must be .* but got ` + quoted); m != nil {
		return usagef(source(m[1])+"=true, or leave it out", "%s is %s, and not true or false", source(m[1]), m[2])
	}
	if m := match(`^--([a-z-]+): (?:expected \S+ value but got "EOL"|missing value)`); m != nil {
		return usagef("--"+m[1]+valueOf(k, nil, m[1], m[1]), "--%s has no value", m[1])
	}
	switch command {
	case "check":
		if strings.HasPrefix(text, "missing flags") {
			return usagef("caplaunch check --allow=net_admin,net_raw", "check needs to be told what is allowed: --allow is missing")
		}
	case "show":
		if strings.HasPrefix(text, "[<pid>]") {
			return usagef("caplaunch show 1", "show takes the number of a process, or nothing for itself")
		}
	case "install":
		if strings.HasPrefix(text, "expected") {
			return usagef("caplaunch install /target/caplaunch", "install needs to be told where to: DEST is missing")
		}
	}
	return usagef(helpHint, "%v", err)
}

// valueOf is "=" and a value for the flag meant: the one that was given to flag,
// or an example; "" for a flag that takes none.
func valueOf(k *kong.Kong, args []string, flag, meant string) string {
	for _, c := range k.Model.Children {
		for _, f := range c.Flags {
			if f.Name != meant {
				continue
			}
			if f.IsBool() {
				return ""
			}
			for i, a := range args {
				if v, ok := strings.CutPrefix(a, "--"+flag+"="); ok && v != "" {
					return "=" + strings.TrimSpace(quoteAll([]string{v}))
				} else if a == "--"+flag && i+1 < len(args) {
					return "=" + strings.TrimSpace(quoteAll([]string{args[i+1]}))
				}
			}
			if f.Enum != "" {
				return "=" + strings.Split(strings.TrimPrefix(f.Enum, ","), ",")[0]
			}
		}
	}
	return "=" + sample(meant)
}

// example is a value for a flag, where its own came from.
func example(flag string) string { return source(flag) + "=" + sample(flag) }

// source is where the value of a flag came from: the variable when that is set,
// because those of flags that were given are unset by then.
func source(flag string) string {
	name := "CAPLAUNCH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	if os.Getenv(name) != "" {
		return name
	}
	return "--" + flag
}
