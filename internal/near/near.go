// Package near finds the word that was meant by one that is misspelt.
package near

import "strings"

// Word is the only one of known that begins with word, of three letters at least;
// or the one that differs from it by the fewest slips, the first of several, or ""
// when none is close enough: one slip is allowed, two from six letters on, and one
// more for every four. A slip is a letter too many, too few or wrong, or two
// neighbours swapped (optimal string alignment).
func Word(word string, known ...string) string {
	var longer []string
	for _, k := range known {
		if len(word) > 2 && strings.HasPrefix(k, word) {
			longer = append(longer, k)
		}
	}
	if len(longer) == 1 {
		return longer[0]
	}
	best, most := "", max(1, (len(word)+2)/4)
	for _, k := range known {
		if d := slips(word, k, most); d <= most {
			best, most = k, d-1
		}
	}
	return best
}

// slips counts the slips that turn a into b, and gives up above limit: words may
// be of any length.
func slips(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			now[j] = min(last[j]+1, now[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
