package ambient

import (
	"fmt"
	"iter"
	"math/bits"
	"strings"
)

// A Set is a set of capabilities: bit i is capability i, as in the masks of
// /proc/PID/status. The zero value is the empty set.
type Set uint64

// SetOf is the set of the given capabilities, which must not exceed MaxCap.
func SetOf(caps ...Cap) Set {
	var s Set
	for _, c := range caps {
		s |= 1 << c
	}
	return s
}

// UpTo is the set of all capabilities from 0 to last.
func UpTo(last Cap) Set {
	return Set(1)<<last<<1 - 1
}

// Has reports whether c is in s.
func (s Set) Has(c Cap) bool { return s>>c&1 == 1 }

// Contains reports whether every capability of sub is in s.
func (s Set) Contains(sub Set) bool { return sub&^s == 0 }

// Len is the number of capabilities in s.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

// All yields the capabilities of s in the order of their numbers.
func (s Set) All() iter.Seq[Cap] {
	return func(yield func(Cap) bool) {
		for ; s != 0; s &= s - 1 {
			if !yield(Cap(bits.TrailingZeros64(uint64(s)))) {
				return
			}
		}
	}
}

// Names lists the names of s in the order of their numbers.
func (s Set) Names() []string {
	names := make([]string, 0, s.Len())
	for c := range s.All() {
		names = append(names, c.String())
	}
	return names
}

// String joins the names with commas, as --caps takes them; the empty set is
// "none".
func (s Set) String() string {
	if s == 0 {
		return "none"
	}
	return strings.Join(s.Names(), ",")
}

// Some is String for a sentence: at most a dozen names, and how many more.
func (s Set) Some() string {
	const most = 12
	if names := s.Names(); len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ","), len(names)-most)
	}
	return s.String()
}

// A List is what a list of capabilities on the command line asks for.
type List struct {
	Set Set
	All bool // "all" was among them
}

// ParseList reads lists of capabilities split at commas and white space:
// names and numbers as ParseCap takes them, "all", or "none" alone. A list
// without a single word is a *ListError: an unset variable must not
// pass for a decision. Unknown names are an *UnknownCapError.
func ParseList(lists ...string) (List, error) {
	var l List
	words, none := 0, false
	for _, list := range lists {
		for _, w := range Fields(list) {
			words++
			switch strings.ToLower(w) {
			case "all":
				l.All = true
				continue
			case "none":
				none = true
				continue
			}
			c, err := ParseCap(w)
			if err != nil {
				return List{}, err
			}
			l.Set |= SetOf(c)
		}
	}
	if words == 0 && len(lists) > 0 || none && words > 1 {
		return List{}, &ListError{List: strings.Join(lists, ","), None: none}
	}
	return l, nil
}

// On is the set that the list means on this host.
func (l List) On(h Host) Set {
	if l.All {
		return l.Set | h.Known
	}
	return l.Set
}

// Fields splits a list at commas and white space.
func Fields(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\v' || r == '\f'
	})
}
