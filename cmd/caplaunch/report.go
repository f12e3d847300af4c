package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// The exit statuses of caplaunch's own failures. 77 and 78 are EX_NOPERM and
// EX_CONFIG of sysexits.h; 125, 126 and 127 are what docker run and env(1) use.
const (
	exitNotGranted    = 77
	exitUnexpected    = 78
	exitFailure       = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// A reporter writes caplaunch's own lines to stderr.
type reporter struct {
	w       io.Writer
	json    bool
	quiet   bool
	verbose bool
}

// A failure is an error in the words of a user.
type failure struct {
	err  error
	msg  string // one line
	hint string // one line
	code int    // exit status
}

func (f *failure) Error() string { return f.msg }
func (f *failure) Unwrap() error { return f.err }

// A record is a line as --log-format=json writes it.
type record struct {
	Level      string   `json:"level"` // error, info or debug
	Msg        string   `json:"msg"`
	Hint       string   `json:"hint,omitempty"`
	Code       int      `json:"code,omitempty"`       // exit status
	Capability []string `json:"capability,omitempty"` // names of those it is about
	Sets       []string `json:"sets,omitempty"`       // names of the sets they were found in
}

// fail writes an error and its hint, and gives the text of both lines.
func (r *reporter) fail(f *failure) string {
	rec := record{Level: "error", Msg: f.msg, Hint: f.hint, Code: f.code}
	var missing *ambient.NotGrantedError
	var stray *ambient.UnexpectedCapabilityError
	switch {
	case errors.As(f.err, &missing):
		rec.Capability = missing.Set().Names()
	case errors.As(f.err, &stray):
		caps, in := stray.Set()
		rec.Capability, rec.Sets = caps.Names(), in.Names()
	}
	r.write(rec)
	return (&reporter{}).text(rec)
}

// skipped says that an optional capability is not there.
func (r *reporter) skipped(m ambient.Miss) {
	if !r.quiet {
		r.write(record{Level: "info", Msg: fmt.Sprintf("%v skipped: %s", m.Cap, m.Why()), Capability: []string{m.Cap.String()}})
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

// oneLine shows what would end the line or steer a terminal as an escape.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x%02x`, r)
		}
	}
	return b.String()
}
