// Package identity reads who a program is to run as: "user[:group]" as docker
// run takes it, but nothing empty, nothing guessed and no number that wraps
// around. Names come from /etc/passwd and /etc/group, and only names need them.
package identity

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// MaxID is the highest id taken, as in Docker.
const MaxID = 1<<31 - 1

// A Name is a user or a group as it was written: a number, or a name that a
// file has to explain.
type Name struct {
	Text    string
	ID      uint32
	Numeric bool
}

// A Spec is a parsed "user[:group]".
type Spec struct {
	User  Name
	Group *Name // nil without one
}

// A SpecError is a user, group or list of groups that is not well-formed.
type SpecError struct {
	Text    string // all of it
	Part    string // the part that is wrong
	Problem Problem
}

// A Problem says what is wrong with a spec.
type Problem string

// The problems of a spec.
const (
	Empty      Problem = "is empty"
	EmptyUser  Problem = "has an empty user"
	EmptyGroup Problem = "has an empty group"
	Colons     Problem = "has more than one colon"
	TooLarge   Problem = "is above 2147483647, the highest id"
	NotDecimal Problem = "is not a plain decimal number"
	NotAName   Problem = "is not a name"
	TooMany    Problem = "is more groups than the kernel takes (65536)"
)

func (e *SpecError) Error() string {
	if e.Part == "" || e.Part == e.Text {
		return fmt.Sprintf("%s %s", shown(e.Text), e.Problem)
	}
	return fmt.Sprintf("%s in %s %s", shown(e.Part), shown(e.Text), e.Problem)
}

// shown quotes s, cut to a length that fits a line.
func shown(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return strconv.Quote(s)
}

// Parse reads "user[:group]". Numbers are decimal, 0 to MaxID. The error is a
// *SpecError: an unset variable must never mean root, and no number wraps.
func Parse(text string) (Spec, error) {
	bad := func(part string, p Problem) (Spec, error) {
		return Spec{}, &SpecError{Text: text, Part: part, Problem: p}
	}
	user, group, hasGroup := strings.Cut(text, ":")
	switch {
	case text == "":
		return bad("", Empty)
	case strings.Contains(group, ":"):
		return bad("", Colons)
	case user == "":
		return bad("", EmptyUser)
	case hasGroup && group == "":
		return bad("", EmptyGroup)
	}
	var s Spec
	var p Problem
	if s.User, p = parseName(user); p != "" {
		return bad(user, p)
	}
	if hasGroup {
		g, p := parseName(group)
		if p != "" {
			return bad(group, p)
		}
		s.Group = &g
	}
	return s, nil
}

// ParseGroups reads lists of groups, split at commas and white space. The error
// is a *SpecError.
func ParseGroups(lists ...string) ([]Name, error) {
	var names []Name
	text := strings.Join(lists, ",")
	for _, w := range ambient.Fields(text) {
		n, p := parseName(w)
		if p != "" {
			return nil, &SpecError{Text: text, Part: w, Problem: p}
		}
		if names = append(names, n); len(names) > ambient.MaxGroups {
			return nil, &SpecError{Text: text, Problem: TooMany}
		}
	}
	if len(names) == 0 {
		return nil, &SpecError{Text: text, Problem: Empty}
	}
	return names, nil
}

// parseName tells numbers from names. What looks like a number in some other
// notation is neither.
func parseName(s string) (Name, Problem) {
	if strings.Trim(s, "0123456789") == "" {
		n, err := strconv.ParseUint(s, 10, 64)
		switch {
		case err != nil || n > MaxID:
			return Name{}, TooLarge
		case len(s) > 1 && s[0] == '0': // octal to one reader, decimal to the next
			return Name{}, NotDecimal
		}
		return Name{Text: s, ID: uint32(n), Numeric: true}, ""
	}
	if c := s[0]; (c == '+' || c == '-' || '0' <= c && c <= '9') && strings.Trim(s[1:], "0123456789abcdefxABCDEFX.+-_") == "" {
		return Name{}, NotDecimal // such as +5, 0x1, 1e3
	}
	odd := func(r rune) bool { return r <= ' ' || r == 0x7f || r == unicode.ReplacementChar || unicode.IsSpace(r) }
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") || len(s) > 255 || strings.ContainsFunc(s, odd) || strings.ContainsAny(s, ":,/") {
		return Name{}, NotAName
	}
	return Name{Text: s}, ""
}
