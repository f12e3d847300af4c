package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/origin"
)

// A reporter writes caplaunch's own lines to stderr.
type reporter struct {
	w       io.Writer
	json    bool
	quiet   bool
	verbose bool
}

// A record is a line as --log-format=json writes it.
type record struct {
	Level      string   `json:"level"` // error, info or debug
	Msg        string   `json:"msg"`
	Hint       string   `json:"hint,omitempty"`
	Code       int      `json:"code,omitempty"`       // exit status
	Capability []string `json:"capability,omitempty"` // names of those it is about
	Sets       []string `json:"sets,omitempty"`       // names of the sets they were found in
}

// fail writes an error and its hint.
func (r *reporter) fail(err error, hint string) {
	rec := record{Level: "error", Msg: oneLine(err.Error()), Hint: oneLine(hint), Code: exitStatus(err)}
	var missing *ambient.NotGrantedError
	var stray *ambient.UnexpectedCapabilityError
	switch {
	case errors.As(err, &missing):
		rec.Capability = missing.Set().Names()
	case errors.As(err, &stray):
		rec.Capability = stray.Set().Names()
		var in ambient.SetMask
		for _, s := range stray.Stray {
			in |= s.In
		}
		rec.Sets = in.Names()
	}
	r.write(rec)
}

// skipped says that an optional capability is not there.
func (r *reporter) skipped(c ambient.Cap, why string) {
	if !r.quiet {
		r.write(record{Level: "info", Msg: oneLine(fmt.Sprintf("%v skipped: %s", c, why)), Capability: []string{c.String()}})
	}
}

// infof writes a line that --quiet hides.
func (r *reporter) infof(format string, args ...any) {
	if !r.quiet {
		r.write(record{Level: "info", Msg: oneLine(fmt.Sprintf(format, args...))})
	}
}

// verbosef writes a line for --verbose.
func (r *reporter) verbosef(format string, args ...any) {
	if r.verbose {
		r.write(record{Level: "debug", Msg: oneLine(fmt.Sprintf(format, args...))})
	}
}

// dying is what to write when the Go runtime gives up, whose own words may stand above, or
// the deadline comes.
func (r *reporter) dying(when string) string {
	return r.text(record{Level: "error", Msg: "cut short " + when + ": the Go runtime gave up, or five minutes have passed", Hint: origin.Room, Code: ambient.ExitFailure})
}

// stalled is what to write when op does not come back.
func (r *reporter) stalled(op, hint string) string {
	const why = " did not succeed on every thread: does a filter refuse it, tgkill or getpid?"
	return r.text(record{Level: "error", Msg: op + why, Hint: hint, Code: ambient.ExitFailure})
}

// write puts the whole of a record out in one call, so that lines of others do
// not mix in. Where stderr is gone there is nobody to tell.
func (r *reporter) write(rec record) { _, _ = io.WriteString(r.w, r.text(rec)) }

func (r *reporter) text(rec record) string {
	var b strings.Builder
	switch {
	case r.json:
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(rec) // strings and an int: it cannot fail
	case rec.Level == "error":
		fmt.Fprintf(&b, "caplaunch: error: %s\ncaplaunch: hint: %s\n", rec.Msg, rec.Hint)
	default:
		fmt.Fprintf(&b, "caplaunch: %s\n", rec.Msg)
	}
	return b.String()
}

// exitStatus is the status that the error knows, or 125.
func exitStatus(err error) int {
	var e interface{ ExitStatus() int }
	if errors.As(err, &e) {
		return e.ExitStatus()
	}
	return ambient.ExitFailure
}

// oneLine shows what would end the line or steer a terminal as an escape.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsControl(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
