// Package shell writes words so that they can be pasted into a shell.
package shell

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Word quotes a word where that is needed, on one line whatever is in it.
func Word(w string) string {
	odd := func(r rune) bool { return !strconv.IsPrint(r) || r == unicode.ReplacementChar }
	special := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+:,./@%", r)
	}
	switch {
	case strings.ContainsFunc(w, odd): // bash, busybox and POSIX of 2024 know this form
		var b strings.Builder
		for _, c := range []byte(w) {
			if c < ' ' || c >= 0x7f || c == '\'' || c == '\\' {
				fmt.Fprintf(&b, `\%03o`, c)
			} else {
				b.WriteByte(c)
			}
		}
		return "$'" + b.String() + "'"
	case w == "" || strings.ContainsFunc(w, special):
		return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return w
}

// Line quotes each word and joins them.
func Line(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = Word(w)
	}
	return strings.Join(quoted, " ")
}
