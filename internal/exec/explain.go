//go:build linux

package exec

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Explain turns the error of Replace into an *Error that says why, from what
// was found out before the switch and from a second look as the user. Other
// errors pass through.
func (t Target) Explain(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	p, f := t.program, t.program.source()
	e := &Error{Reason: Refused, Path: p.Path(), Errno: errno, UID: uint32(unix.Geteuid()), Arch: f.ELF.Arch(), binary: !f.text}
	switch errno {
	case 0:
		e.Reason = Returned
	case unix.ENOENT, unix.EACCES, unix.ELOOP, unix.ENOTDIR, unix.ENAMETOOLONG:
		if _, err := Inspect(p.Path(), nil, p.host); err != nil {
			return err
		}
		if errno == unix.ENOENT && f.Format == ELFFile && !f.ELF.Native() {
			e.Reason, e.Path = MissingEmulator, f.Path
		}
	case unix.ENOEXEC, unix.EINVAL, unix.ELIBBAD, unix.EIO:
		e.Path = f.Path
		e.Reason = f.unsuitable(errno)
		if e.Reason == MalformedELF && errno != unix.ENOEXEC && f.ELF.Interp != "" {
			e.Path = f.ELF.Interp
		}
	case unix.EPERM:
		if f.Caps != nil && !t.Held() {
			e.Reason, e.Path, e.mend, e.uncopyable = CapsUncovered, f.Path, f.mend(), p.Uncopyable() != nil
		}
	case unix.ETXTBSY:
		e.Reason = TextBusy
	case unix.E2BIG:
		e.Reason = TooLong
	case unix.EAGAIN:
		e.Reason = TooManyProcs
	case unix.ENOMEM:
		e.Reason = NoMemory
	}
	return e
}

// Doubt is the error with which execve by v will refuse the program for what it
// contains, unless binfmt_misc has a handler for it, which nobody can tell
// beforehand, or for its ELF interpreter. It is nil for what the kernel runs by
// itself, or what cannot be read.
func (p Program) Doubt(v *Viewer) *Error {
	f := p.source()
	if f.Format == ELFFile && f.ELF.Interp != "" && f.ELF.Native() {
		_, _, err := reach(f.ELF.Interp, v)
		var e *Error
		if errors.As(missing(err, MissingLoader, f), &e) && e.Reason != Unseen {
			return e
		}
		if loader, err := inspectFile(f.ELF.Interp, nil); err == nil && loader.Format != Opaque && (loader.Format != ELFFile || loader.ELF.Machine != f.ELF.Machine) {
			return &Error{Reason: MalformedELF, Path: f.ELF.Interp, Errno: unix.ELIBBAD}
		}
	}
	e := &Error{Path: f.Path, Reason: f.unsuitable(unix.ENOEXEC), Errno: unix.ENOEXEC, Arch: f.ELF.Arch(), binary: !f.text}
	switch {
	case f.Format == EmptyFile, f.Format == Unknown, f.Format == BrokenELF, f.Format == ELFFile && !f.ELF.Native():
		return e
	}
	return nil
}

// Uncopyable is the error with which Copy will fail, as far as that can be told
// without making one.
func (p Program) Uncopyable() *Error {
	f := p.source()
	var limit unix.Rlimit
	forbids, _ := os.ReadFile("/proc/sys/vm/memfd_noexec")
	switch {
	case strings.TrimSpace(string(forbids)) == "2":
		return &Error{Reason: CopyForbidden, Path: f.Path, Errno: unix.EACCES, mend: f.mend()}
	case f.Format == Opaque:
		return &Error{Reason: Unreadable, Path: f.Path, Mode: f.stat.Mode, Owner: [2]uint32{f.stat.Uid, f.stat.Gid}, Errno: unix.EACCES, mend: f.mend()}
	case unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) == nil && limit.Cur < uint64(f.stat.Size):
		return &Error{Reason: CopyTooLarge, Path: f.Path, Errno: unix.EFBIG}
	}
	return nil
}

// Foreign reports whether a handler of binfmt_misc is likely: the file is for
// another machine, or no text.
func (e *Error) Foreign() bool {
	return e.Reason == WrongArch || e.Reason == NoFormat && e.binary
}

// unsuitable says what about the file made execve answer with ENOEXEC, or with
// what it reports for a file or an ELF interpreter that makes no sense.
func (f *File) unsuitable(errno unix.Errno) Reason {
	foreign := f.ELF.Machine != 0 && f.ELF.Arch() != runtime.GOARCH
	switch {
	case f.Format == EmptyFile:
		return Empty
	case f.Format == Unknown && errno == unix.ENOEXEC:
		return NoFormat
	case errno == unix.ENOEXEC && foreign:
		return WrongArch
	case f.Format == BrokenELF, f.Format == ELFFile && errno != unix.EINVAL:
		return MalformedELF
	case errno == unix.EINVAL && (f.Caps != nil || f.capsErr != 0):
		return BadCaps
	}
	return Refused
}
