package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/near"
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

// A slip is a command line that cannot be understood, to be told in words of
// caplaunch and with a hint to paste.
type slip struct {
	k       *kong.Kong // knows at least the flags of run
	command string     // the one that args begin with, or run
	args    []string
	after   []string // nil without a "--"
}

// flags are those of a command. A launch that is right has to pay for no more
// than its own.
func (s slip) flags(command string) map[string]*kong.Flag {
	known := map[string]*kong.Flag{}
	of := func(k *kong.Kong) {
		for _, c := range k.Model.Children {
			if c.Name == command {
				for _, f := range c.Flags {
					known[f.Name] = f
				}
			}
		}
	}
	if of(s.k); len(known) == 0 {
		if k, err := newParser(&grammar{}, io.Discard); err == nil {
			of(k)
		}
	}
	return known
}

// line is a command line for a shell, with PROGRAM behind "--" if there is one.
func (slip) line(before, after []string) string {
	line := "caplaunch " + quoteAll(before)
	if after != nil {
		line += "-- " + quoteAll(after)
	}
	return strings.TrimSpace(line)
}

// misplaced is about the word at, which is no flag, nor the value of one, nor a
// command where one can stand.
func (s slip) misplaced(at int) error {
	word, before, rest := s.args[at], s.args[:at], s.args[at:]
	if word == "" {
		return usagef(s.line(append(slices.Clone(before), rest[1:]...), s.after), "an empty word stands where a flag or PROGRAM can be: is a variable there that is not set?")
	}
	if strings.TrimLeft(word, otherDashes) != word {
		name := strings.TrimLeft(word, otherDashes+"-")
		var flag []string
		if len(name) == 1 {
			flag = []string{"-" + name}
		} else if name != "" {
			flag = []string{"--" + name}
		}
		if name != "" || s.after != nil {
			return usagef(s.line(slices.Concat(before, flag, rest[1:]), s.after), "%q is written with another dash than -", word)
		}
		return usagef(s.line(before, rest[1:]), "%q is another dash than --", word)
	}
	if command := s.commandLike(word); at == 0 && command != "" {
		return usagef(s.line(append([]string{command}, rest[1:]...), s.after), "there is no command %q, did you mean %s?", word, command)
	}
	if explicit := at > 0 && before[0] == s.command; slices.Contains(commands, word) && (!explicit || s.after != nil && word == "explain") {
		if explicit {
			before = before[1:]
		}
		flags, fits := s.flags(word), s.after == nil || word == "run" || word == "explain"
		eachFlag(s.k, before, func(f *kong.Flag, _ string) { fits = fits && flags[f.Name] != nil })
		if fits {
			return usagef(s.line(append([]string{word}, append(slices.Clone(before), rest[1:]...)...), s.after), "the command %s has to stand in front of its flags", word)
		}
	}
	if s.after == nil {
		return usagef(s.line(before, rest), "-- is missing in front of PROGRAM")
	}
	if at > 0 && slices.Contains([]string{"true", "false", "yes", "no", "1", "0"}, word) {
		for _, f := range s.flags(s.command) {
			if last := before[at-1]; f.IsBool() && (last == "--"+f.Name || f.Short != 0 && last == "-"+string(f.Short)) {
				return usagef("--"+f.Name+"="+word, "the value of %s has to be joined to it by =", last)
			}
		}
	}
	if joined := s.joined(at); joined != nil && s.works(joined) == nil {
		return usagef(s.line(joined, s.after), "%q stands apart from the list in front of it", word)
	}
	isFlag := func(w string) bool { return strings.HasPrefix(w, "-") }
	isOurs := func(w string) bool {
		name, _, _ := strings.Cut(w, "=")
		return isFlag(w) && s.flags(s.command)[strings.TrimPrefix(name, "--")] != nil
	}
	switch err := s.works(slices.Concat(before, rest[1:])); {
	case err == nil && (word == "run" || slices.ContainsFunc(rest, isFlag)):
		return usagef(s.line(slices.Concat(before, rest[1:]), s.after), "%q stands in front of --, where only flags can be", word)
	case err != nil && slices.ContainsFunc(rest, isOurs):
		return err // that first: the flags behind the word are ours
	}
	return usagef(s.line(before, slices.Concat(rest, []string{"--"}, s.after)), "%q stands in front of --, where only flags can be", word)
}

// otherDashes are what editors make of "-" and "--".
const otherDashes = "–—−"

// joined is args with the words from at on made part of the list that is the value
// of the flag in front, nil where that takes none.
func (s slip) joined(at int) []string {
	var last *kong.Flag
	eachFlag(s.k, s.args[:at], func(f *kong.Flag, _ string) { last = f })
	if last == nil || !last.IsSlice() || len(s.after) == 0 || strings.HasPrefix(s.after[0], "-") {
		return nil
	}
	end := at
	for end < len(s.args) && !strings.HasPrefix(s.args[end], "-") {
		if last.Name == "groups" && strings.Trim(s.args[end], "0123456789,") != "" {
			return nil // it may as well be a program
		}
		end++
	}
	list := strings.Join(s.args[at-1:end], ",")
	return slices.Concat(s.args[:at-1], []string{list}, s.args[end:])
}

// works is the error of args, in the place of those that cannot be understood.
func (s slip) works(args []string) error {
	if at := eachFlag(s.k, args, func(*kong.Flag, string) {}); at >= 0 {
		return usagef(s.line(args[:at], args[at:]), "-- is missing in front of PROGRAM")
	}
	g, _, err := parse(args, s.after, io.Discard)
	if err != nil {
		return err
	}
	flags := g.Run.launchFlags
	if s.command == "explain" {
		flags = g.Explain.launchFlags
	}
	_, _, err = (&launch{flags: flags}).parse()
	return err
}

// commandLike is the command that somebody means who begins with word, "" where
// it may as well be a program without "--" in front: what follows has to be what
// the command takes.
func (s slip) commandLike(word string) string {
	command := near.Word(word, commands[1:]...)
	for _, c := range commands[1:] {
		if len(word) > 2 && strings.HasPrefix(c, word) {
			command = c
		}
	}
	launches := command == "explain"
	if len(word) < 3 || command == "" || s.after != nil && !launches {
		return ""
	}
	flags, fits, words := s.flags(command), true, 0
	for _, w := range s.args[1:] {
		if name, long := strings.CutPrefix(w, "--"); long {
			name, _, _ = strings.Cut(name, "=")
			fits = fits && flags[name] != nil
		} else if w == "-" || !strings.HasPrefix(w, "-") {
			words++
		}
	}
	if !fits || words > 1 || words == 1 && command != "show" && command != "install" && !launches {
		return ""
	}
	return command
}

// program is about one that stands behind "--" of a command that runs none.
func (s slip) program() error {
	words := s.args
	if len(words) == 1 && len(s.after) == 1 && s.command == "install" {
		dest := s.after[0]
		if strings.HasPrefix(dest, "-") {
			dest = "./" + dest
		}
		words = []string{s.command, dest}
	}
	return usagef(s.line(words, nil), "%s takes no PROGRAM, and no --", s.command)
}

// dashes finds a flag that is written with one dash instead of two, or a short
// one with "=".
func (s slip) dashes(words []string) error {
	for _, w := range words {
		if len(w) < 3 || w[0] != '-' || w[1] == '-' {
			continue
		}
		flags := s.flags(s.command)
		name, value, hasValue := strings.Cut(w[1:], "=")
		if f := flags[name]; f != nil {
			if !hasValue && !f.IsBool() {
				value, _ = s.given(w)
			}
			return usagef("--"+name+s.value(name, value), "%q has one dash, and a flag with a whole name has two", w)
		}
		for _, f := range flags {
			if hasValue && name == string(f.Short) && !f.IsBool() {
				return usagef(fmt.Sprintf("--%s=%s", f.Name, shellWord(value)), "%q: a short flag takes no =", w)
			}
		}
	}
	return nil
}

// explained is kong's error.
func (s slip) explained(err error) error {
	text := err.Error()
	match := func(pattern string) []string { return regexp.MustCompile(pattern).FindStringSubmatch(text) }
	const quoted = `("(?:[^"\\]|\\.)*")`
	if m := match(`^unknown flag (--?[^\s,]+)`); m != nil {
		if err := s.unknown(m[1]); err != nil {
			return err
		}
	}
	if m := match(`^--([a-z-]+) must be one of (\S+) but got ` + quoted); m != nil {
		return notOneOf(m[1], m[3], strings.Split(strings.ReplaceAll(strings.TrimPrefix(m[2], `"",`), `"`, ""), ","))
	}
	if m := match(`^--([a-z-]+): bool value must be .* but got ` + quoted); m != nil {
		hint := source(m[1]) + "=true or " + source(m[1]) + "=false"
		switch strings.ToLower(strings.Trim(m[2], `"`)) {
		case "off", "n", "none", "disable", "disabled", "never":
			hint = source(m[1]) + "=false"
		case "on", "y", "enable", "enabled", "always":
			hint = source(m[1]) + "=true"
		}
		return usagef(hint, "%s is %s, and not true or false", source(m[1]), m[2])
	}
	if m := match(`^--([a-z-]+): (?:expected \S+ value but got (?:"EOL"|.*\((?:long|short) flag\))|missing value)`); m != nil {
		return usagef("--"+m[1]+s.value(m[1], ""), "--%s has no value", m[1])
	}
	var number *pidError
	switch {
	case s.command == "check" && strings.HasPrefix(text, "missing flags"):
		return usagef("caplaunch check --allow=net_admin,net_raw", "check needs to be told what is allowed: --allow is missing")
	case strings.HasPrefix(text, "unexpected argument "):
		return s.unexpected(strings.TrimPrefix(text, "unexpected argument "))
	case errors.As(err, &number):
		hint := "caplaunch show 1"
		if s.command == "check" {
			hint = "--pid=1"
		}
		return usagef(hint, "%w", number)
	case s.command == "install" && strings.HasPrefix(text, "expected"):
		return usagef("caplaunch install /shared", "install needs to be told where to: DEST, a folder that can be written or a path, is missing")
	}
	const most = 300
	if len(text) > most {
		text = text[:most] + "…"
	}
	return usagef(s.help(), "%s", text)
}

// unexpected is about a word that a command other than run and explain does not
// take.
func (s slip) unexpected(word string) error {
	at := slices.Index(s.args, word)
	if at < 0 {
		return usagef(s.help(), "unexpected argument %s", word)
	}
	isAllow := func(w string) bool { return w == "--allow" || strings.HasPrefix(w, "--allow=") }
	line := slices.Delete(slices.Clone(s.args), at, at+1)
	switch {
	case s.command == "check" && !slices.ContainsFunc(line, isAllow):
		line = append(line, "--allow="+word)
	case s.command == "check" && (strings.HasPrefix(s.args[at-1], "--allow=") || at > 1 && s.args[at-2] == "--allow"):
		line[at-1] += "," + word
	}
	return usagef(s.line(line, nil), "unexpected argument %s", word)
}

// help is where the flags of the command are listed.
func (s slip) help() string {
	return strings.Replace("caplaunch "+s.command+" --help shows the flags", " run ", " ", 1)
}

// unknown is about a flag that the command does not have. It is nil where
// nothing can be said of it.
func (s slip) unknown(flag string) error {
	known := s.flags(s.command)
	given, word := s.given(flag)
	name := strings.ReplaceAll(strings.ToLower(strings.TrimLeft(flag, "-")), "_", "-")
	meant := name
	if known[meant] == nil {
		meant = meantBy(name)
	}
	switch {
	case s.after == nil && s.command == "run" && (flag == "--version" || flag == "-V"):
		return usagef("caplaunch version", "unknown flag %s: version is a command", flag)
	case s.command == "show" && strings.Trim(name, "0123456789") == "":
		return usagef("caplaunch show 1", "%w", &pidError{flag})
	case s.command == "show" && name == "pid":
		return usagef(s.line([]string{"show", cmp.Or(given, "1")}, nil), "unknown flag %s: show takes the number as it is", flag)
	case meant == "user" && known[meant] != nil:
		return usagef("--user="+s.ids(given), "unknown flag %s, did you mean --user?", flag)
	case meant == "nothing" && known["caps"] != nil:
		return usagef("leave "+word+" out: what --caps does not name is dropped anyway, and no_new_privs set", "unknown flag %s", flag)
	case known[meant] == nil:
		names, begun := []string{}, []string{}
		for n, f := range known {
			if !f.IsBool() || given == "" || given == "true" || given == "false" {
				names = append(names, n)
				if len(name) > 2 && strings.HasPrefix(n, name) {
					begun = append(begun, n)
				}
			}
		}
		slices.Sort(names)
		if meant = near.Word(name, names...); len(begun) == 1 {
			meant = begun[0]
		}
	}
	if known[meant] == nil {
		return nil
	}
	if meant == "caps" || meant == "optional-caps" || meant == "allow" {
		given = added(given)
	}
	return usagef("--"+meant+s.value(meant, given), "unknown flag %s, did you mean --%s?", flag, meant)
}

// added is what a list of setpriv(1), such as "-all,+net_admin", adds.
func added(list string) string {
	words := ambient.Fields(list)
	words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") })
	for i := range words {
		words[i] = strings.TrimPrefix(words[i], "+")
	}
	return strings.Join(words, ",")
}

// meantBy is the flag that somebody means who writes one of docker, setpriv and
// the like, or "nothing" for what is done anyway.
func meantBy(flag string) string {
	switch flag {
	case "cap-add", "cap", "capability", "capabilities", "ambient-caps", "inh-caps":
		return "caps"
	case "uid", "reuid", "ruid", "euid", "gid", "regid", "rgid", "egid":
		return "user"
	case "cap-drop", "no-new-privs", "no-new-privileges", "clear-groups":
		return "nothing"
	}
	return ""
}

// given is the value of a flag as it was written, "" without, and all of it as
// words for a shell.
func (s slip) given(flag string) (value, words string) {
	for i, a := range s.args {
		if v, ok := strings.CutPrefix(a, flag+"="); ok {
			return v, shellWord(a)
		} else if a == flag && i+1 < len(s.args) && !strings.HasPrefix(s.args[i+1], "-") {
			return s.args[i+1], strings.TrimSpace(quoteAll(s.args[i : i+2]))
		}
	}
	return "", flag
}

// ids is the --user that flags of setpriv ask for.
func (s slip) ids(given string) string {
	first := func(flags ...string) string {
		for _, f := range flags {
			if v, _ := s.given(f); v != "" {
				return v
			}
		}
		return ""
	}
	uid, gid := first("--reuid", "--uid", "--ruid", "--euid"), first("--regid", "--gid", "--rgid", "--egid")
	if uid == "" {
		uid = first("--user", "-u")
	}
	for _, a := range s.args {
		if v, ok := strings.CutPrefix(a, "-u"); ok && uid == "" {
			uid = v
		}
	}
	if uid == "" {
		uid = os.Getenv("CAPLAUNCH_USER")
	}
	uid, _, _ = strings.Cut(uid, ":")
	if uid == "" && gid != "" || uid == "" && given == "" {
		return sample("user") // a gid alone must not become somebody's uid
	} else if uid == "" {
		uid = given
	}
	if gid != "" {
		uid += ":" + gid
	}
	return shellWord(uid)
}

// value is "=" and what was given, or else a sample, and "" for a flag that
// takes none.
func (s slip) value(flag, given string) string {
	f := s.flags(s.command)[flag]
	switch {
	case f == nil || f.IsBool():
		return ""
	case given != "":
		return "=" + shellWord(given)
	case f.Enum != "":
		return "=" + strings.ReplaceAll(strings.TrimPrefix(f.Enum, ","), ",", " or --"+flag+"=")
	}
	return "=" + sample(flag)
}

// notOneOf is about a value that is none of a few words.
func notOneOf(flag, quoted string, words []string) error {
	flag = source(flag)
	got := strings.ToLower(strings.Trim(quoted, `"`))
	meant := near.Word(got, words...)
	switch got {
	case "k8s":
		meant = "kubernetes"
	case "docker-compose":
		meant = "compose"
	}
	hint := flag + "=" + strings.Join(words, " or "+flag+"=")
	if slices.Contains(words, meant) {
		hint = flag + "=" + meant
	}
	return usagef(hint, "%s is %s, and not %s", flag, quoted, strings.Join(words, " or "))
}
