// Package identity reads who a program is to run as: "user[:group]" as docker
// run takes it, but nothing empty, nothing guessed and no number that wraps
// around. Names come from /etc/passwd and /etc/group, and only names need them.
package identity

import (
	"errors"
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

func (n Name) String() string {
	if n.Numeric {
		return n.Text
	}
	return fmt.Sprintf("%.64q", n.Text)
}

// A Spec is a parsed "user[:group]".
type Spec struct {
	User  Name
	Group *Name // nil without one
}

// A SpecError is a user, group or list of groups that is not well-formed.
type SpecError struct {
	Text    string // the part that is wrong
	Problem Problem
}

// A Problem says what is wrong with it.
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

func (e *SpecError) Error() string { return fmt.Sprintf("%.64q %s", e.Text, e.Problem) }

// Parse reads "user[:group]". Numbers are decimal, 0 to MaxID. The error is a
// *SpecError: an unset variable must never mean root, and no number wraps.
func Parse(text string) (Spec, error) {
	user, group, hasGroup := strings.Cut(text, ":")
	var wrong Problem
	switch {
	case text == "":
		wrong = Empty
	case strings.Contains(group, ":"):
		wrong = Colons
	case user == "":
		wrong = EmptyUser
	case hasGroup && group == "":
		wrong = EmptyGroup
	}
	if wrong != "" {
		return Spec{}, &SpecError{text, wrong}
	}
	u, err := parseName(user)
	if err != nil || !hasGroup {
		return Spec{User: u}, err
	}
	g, err := parseName(group)
	if err != nil {
		return Spec{}, err
	}
	return Spec{u, &g}, nil
}

// ParseGroups reads lists of groups, split at commas and white space. The error
// is a *SpecError.
func ParseGroups(lists ...string) (names []Name, err error) {
	text := strings.Join(lists, ",")
	for _, w := range ambient.Fields(text) {
		n, err := parseName(w)
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	switch {
	case len(names) == 0:
		return nil, &SpecError{text, Empty}
	case len(names) > ambient.MaxGroups:
		return nil, &SpecError{text, TooMany}
	}
	return names, nil
}

// parseName tells numbers from names. What looks like a number in some other
// notation is neither.
func parseName(s string) (Name, error) {
	odd := func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.IsSpace(r) }
	if strings.Trim(s, "0123456789") == "" {
		n, _ := strconv.ParseUint(s, 10, 64) // out of range it is the largest, and so above MaxID
		switch {
		case n > MaxID:
			return Name{}, &SpecError{s, TooLarge}
		case len(s) > 1 && s[0] == '0': // octal to one reader, decimal to the next
			return Name{}, &SpecError{s, NotDecimal}
		}
		return Name{Text: s, ID: uint32(n), Numeric: true}, nil
	}
	isNumber := func(_ any, err error) bool { return err == nil || errors.Is(err, strconv.ErrRange) }
	switch c := s[0]; {
	case strings.IndexByte("+-.0123456789", c) >= 0 && (isNumber(strconv.ParseInt(s, 0, 64)) || isNumber(strconv.ParseFloat(s, 64))):
		return Name{}, &SpecError{s, NotDecimal} // such as +5, 0x1, 1e3
	case strings.IndexByte("+-=", c) >= 0, len(s) > 255, strings.ContainsFunc(s, odd), strings.ContainsAny(s, ":,/"):
		return Name{}, &SpecError{s, NotAName}
	}
	return Name{Text: s}, nil
}
