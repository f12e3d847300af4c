package main

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
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
// same, each of those words replaced by the one that mend finds, or the sample
// when it finds none.
func corrected(flag string, lists []string, mend func(word string) (meant string, ok bool)) string {
	words := ambient.Fields(strings.Join(lists, ","))
	if len(words) > 1 { // then "none" is nothing to say
		words = slices.DeleteFunc(words, func(w string) bool { return strings.EqualFold(w, "none") })
	}
	for i, w := range words {
		meant, ok := mend(w)
		if !ok {
			return example(flag)
		}
		words[i] = meant
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	if len(words) == 0 {
		return example(flag)
	}
	return source(flag) + "=" + strings.Join(words, ",")
}

// listHint is what to write instead of a list that cannot be read.
func listHint(flag string, lists []string) string {
	hint := corrected(flag, lists, func(word string) (string, bool) {
		word = strings.TrimPrefix(word, "+") // as setpriv writes it
		_, err := ambient.ParseList(word)
		var unknown *ambient.UnknownCapError
		if errors.As(err, &unknown) {
			return unknown.Near, unknown.Near != ""
		}
		return word, err == nil
	})
	if hint != example(flag) {
		return hint
	}
	none := ", or leave it out for none"
	if flag == "allow" {
		none = ", or " + source(flag) + "=none"
	}
	return hint + " (see capabilities(7))" + none
}

// setsHint is the same for --sets.
func setsHint(lists []string) string {
	const all = ambient.DefaultSets | ambient.InBounding
	lost := false // a word that may have meant any set
	hint := corrected("sets", lists, func(word string) (string, bool) {
		if _, err := ambient.ParseSets(word); err == nil {
			return word, true
		}
		meant := near.Word(strings.ToLower(word), all.Names()...)
		lost = lost || meant == ""
		return meant, true
	})
	if lost {
		return source("sets") + "=" + all.String()
	}
	return hint
}

// signalsHint is the same for --ignore-signals.
func signalsHint(lists []string) string {
	return corrected("ignore-signals", lists, func(word string) (string, bool) {
		_, err := origin.ParseSignals([]string{word})
		var unknown *origin.UnknownSignalError
		switch {
		case err == nil:
			return word, true
		case errors.As(err, &unknown):
			return unknown.Near, true
		}
		return "", true // KILL and STOP
	})
}

// quoteAll writes words for a shell, each followed by a space.
func quoteAll(words []string) string {
	var b strings.Builder
	for _, w := range words {
		plain := w != "" && !strings.ContainsFunc(w, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%", r)
		})
		if !plain {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		b.WriteString(w + " ")
	}
	return b.String()
}
