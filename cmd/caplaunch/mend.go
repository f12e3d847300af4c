package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/near"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// This file holds what to write in the place of a value that cannot be read.

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

// corrected is what to write instead of lists with words that cannot be read: the
// same, each of those words replaced by the one that mend finds, or left out when
// that is "". It is the sample when nothing is left.
func corrected(flag string, lists []string, mend func(word string) string) string {
	words := ambient.Fields(strings.Join(lists, ","))
	for i, w := range words {
		words[i] = mend(w)
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if len(words) == 0 {
		return example(flag)
	}
	return source(flag) + "=" + shellWord(strings.Join(words, ","))
}

// listHint is what to write instead of a list that cannot be read. A word with "+"
// or "-" is one of setpriv(1); what is to be taken away is never in the hint.
func listHint(flag string, lists []string) string {
	named := ambient.Host{Known: ambient.UpTo(ambient.Cap(ambient.Named() - 1))}
	read := func(word string) (meant ambient.Set, known bool) {
		l, err := ambient.ParseList(word)
		var unknown *ambient.UnknownCapError
		if errors.As(err, &unknown) && unknown.Near != "" {
			l, err = ambient.ParseList(unknown.Near)
		}
		return l.On(named), err == nil
	}
	var given, taken ambient.Set
	asked, lost := false, false
	for _, w := range ambient.Fields(strings.Join(lists, ",")) {
		word, isTaken := strings.CutPrefix(w, "-")
		meant, known := read(strings.TrimPrefix(word, "+"))
		if isTaken {
			taken |= meant
			lost = lost || !known
		} else {
			given |= meant
			asked = asked || !strings.EqualFold(word, "none")
		}
	}
	none := ", or leave it out for none"
	if flag == "allow" {
		none = ", or " + source(flag) + "=none"
	}
	lost = lost && given.Contains(named.Known) // else nothing that was excluded is given
	switch rest := given &^ taken; {
	case rest == named.Known && !lost:
		return source(flag) + "=all"
	case rest != 0 && !lost:
		return source(flag) + "=" + rest.String()
	case !asked && (taken != 0 || len(ambient.Fields(strings.Join(lists, ","))) > 0), taken != 0 && rest == 0:
		return source(flag) + "=none"
	}
	return example(flag) + " (see capabilities(7))" + none
}

// userHint is the same for --user.
func userHint(text string) string {
	user, _, _ := strings.Cut(text, ":")
	if spec, err := identity.Parse(user); err != nil {
		user = sample("user") + ", or a name"
	} else if spec.User.Numeric {
		user += ":" + user
	} else {
		user = shellWord(user)
	}
	return source("user") + "=" + user
}

// groupsHint is the same for --groups.
func groupsHint(lists []string) string {
	return corrected("groups", lists, func(word string) string {
		if _, err := identity.ParseGroups(word); err != nil {
			return ""
		}
		return word
	}) + ", or leave it out for the groups of --user"
}

// setsHint is the same for --sets.
func setsHint(lists []string) string {
	const all = ambient.DefaultSets | ambient.InBounding
	lost := false // a word that may have meant any set
	hint := corrected("sets", lists, func(word string) string {
		if _, err := ambient.ParseSets(word); err == nil {
			return word
		}
		meant := near.Word(strings.ToLower(word), all.Names()...)
		lost = lost || meant == ""
		return meant
	})
	if lost {
		return source("sets") + "=" + all.String()
	}
	return hint
}

// signalsHint is the same for --ignore-signals.
func signalsHint(lists []string) string {
	return corrected("ignore-signals", lists, func(word string) string {
		_, err := origin.ParseSignals([]string{word})
		var unknown *origin.UnknownSignalError
		switch {
		case err == nil:
			return word
		case errors.As(err, &unknown):
			return unknown.Near
		}
		return "" // KILL and STOP
	})
}

// quoteAll writes words for a shell, each followed by a space.
func quoteAll(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(shellWord(w) + " ")
	}
	return b.String()
}

// shellWord writes a word for a shell, on one line whatever is in it.
func shellWord(w string) string {
	odd := func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }
	plain := func(r rune) bool {
		return strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%", r)
	}
	switch {
	case strings.ContainsFunc(w, odd): // bash, busybox and POSIX of 2024 know this form
		var b strings.Builder
		for i := range len(w) {
			switch c := w[i]; {
			case c == '\'' || c == '\\':
				b.WriteString("\\" + w[i:i+1])
			case c == '\n':
				b.WriteString(`\n`)
			case c == '\t':
				b.WriteString(`\t`)
			case c < ' ' || c >= 0x7f:
				fmt.Fprintf(&b, `\%03o`, c)
			default:
				b.WriteByte(c)
			}
		}
		return "$'" + b.String() + "'"
	case w == "" || strings.TrimLeftFunc(w, plain) != "":
		return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return w
}
