package main

import (
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/origin"
	"github.com/caplaunch/caplaunch/internal/shell"
)

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
		return a, usagef(s.inHint("--strict, or "+s.example("allow")+", beside it"), "%s says which sets an allowlist looks at, and there is none", s.of("sets"))
	case f.Strict && (r.Required.All || r.Optional.All):
		return a, usagef("--caps=net_admin, with the capabilities that PROGRAM needs in the place of all", "--strict refuses what was not asked for, and all asks for everything")
	}
	if f.User != nil {
		spec, err := identity.Parse(*f.User)
		if err != nil {
			return a, usagef(s.of("user")+"=UID:GID"+unexpanded(*f.User), "%s: %w", s.of("user"), err)
		}
		a.user = &spec
	}
	if f.Groups != nil {
		if a.groups, err = identity.ParseGroups(f.Groups...); err != nil {
			return a, usagef(s.of("groups")+"=GID"+unexpanded(f.Groups...)+", or leave it out for the groups of --user", "%s: %w", s.of("groups"), err)
		}
	}
	var meant string
	if a.ignore, meant, err = parseSignals(f.IgnoreSignals); err != nil {
		hint := s.example("ignore-signals")
		words := ambient.Fields(strings.Join(f.IgnoreSignals, ","))
		if i := slices.IndexFunc(words, func(w string) bool { return parseSignal(w) == 0 }); meant != "" {
			words[i] = meant
			hint = s.of("ignore-signals") + "=" + shell.Word(strings.Join(words, ","))
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
	hint := s.example(flag) + ", as an example: capabilities(7) has the names" + unexpanded(lists...)
	if meant := meantCaps(lists); meant != "" {
		hint = s.of(flag) + "=" + meant
	}
	return l, usagef(hint, "%s: %w", s.of(flag), err)
}

// meantCaps is a list of capabilities that is misspelt, or has the marks of
// another syntax in it, as it was meant; "" where a word of it is no name.
func meantCaps(lists []string) string {
	words := strings.FieldsFunc(strings.Join(lists, ","), func(r rune) bool { return strings.ContainsRune(",;| \t\n[](){}\"'“”‘’", r) })
	words = slices.DeleteFunc(words, func(w string) bool { return len(words) > 1 && strings.EqualFold(w, "none") })
	for i, w := range words {
		w, _, _ = strings.Cut(strings.TrimPrefix(w, "="), "=") // setcap(8) writes cap_net_admin=ep
		w, _, _ = strings.Cut(w, "+")
		if _, err := ambient.ParseList(w); err != nil {
			w = (&ambient.UnknownCapError{Name: w}).Near()
		}
		if words[i] = w; w == "" {
			return ""
		}
	}
	return strings.ToLower(strings.Join(words, ","))
}

// sets reads a list of sets; nil is the default.
func (s sources) sets(lists []string) (ambient.SetMask, error) {
	if lists == nil {
		return ambient.DefaultSets, nil
	}
	sets, err := ambient.ParseSets(lists...)
	if err != nil {
		return 0, usagef(s.example("sets"), "%s: %w", s.of("sets"), err)
	}
	return sets, nil
}
