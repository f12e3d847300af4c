//go:build linux

package exec

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// An Error says that the program cannot be found, executed or copied.
type Error struct {
	Path   string // the file that it is about
	Script string // the script whose "#!" interpreter Path is, "" for the program itself
	Err    error  // an errno, or one of the errors below
	Copy   bool   // it was to be copied
}

// What keeps a program from being executed, beside the errnos of execve(2).
var (
	ErrNotInPath     = errors.New("not found in PATH")
	ErrNoName        = errors.New("a program without a name")
	ErrNotRegular    = errors.New("not a regular file")
	ErrNotExecutable = errors.New("not executable for this user, or on a file system that is mounted noexec")
	ErrNoInterpreter = errors.New(`its "#!" line names no interpreter`)
	ErrTooDeep       = errors.New(`more "#!" interpreters in a row than the kernel follows`)
	ErrBadCaps       = errors.New("its file capabilities make no sense to the kernel")
	ErrHiddenCaps    = errors.New("its file capabilities cannot be told: another than the kernel answers for it")
	ErrForeignCaps   = errors.New("its file capabilities belong to the root of another user namespace, and whether they count cannot be told")
	ErrUnreadable    = errors.New("this user may not read it, so that it can be neither copied nor judged")
	ErrOrigin        = errors.New("its RPATH or RUNPATH has $ORIGIN, which a copy in memory cannot resolve")
	ErrChanged       = errors.New("it changed while caplaunch looked at it")
	ErrReturned      = errors.New("execve reported success, but nothing was executed")
)

func (e *Error) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Missing reports whether the file, or what it needs, does not exist: ENOENT.
func (e *Error) Missing() bool {
	return errors.Is(e.Err, unix.ENOENT) || e.Err == ErrNotInPath || e.Err == ErrNoName
}

// DefaultPath is searched where PATH is not set, as execvp(3) does with glibc.
const DefaultPath = "/bin:/usr/bin"

// SearchPath is the value of the first PATH in env, or DefaultPath. A PATH that
// is set but empty is the current directory.
func SearchPath(env []string) string {
	for _, kv := range env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			return path
		}
	}
	return DefaultPath
}

// Find looks for the program as execvp(3) does, but for its fallback to
// /bin/sh: a name with a slash is a path; else each element of path is tried, an
// empty one being the current directory. A file that the present user may not
// execute is passed over, and is the error when nothing else is found; what it may
// not reach counts as not there. The error is an *Error.
func Find(name, path string) (*Program, error) {
	if strings.Contains(name, "/") {
		return look(name)
	}
	if name == "" {
		return nil, &Error{Err: ErrNoName}
	}
	best := &Error{Path: name, Err: ErrNotInPath}
	for dir := range strings.SplitSeq(path, ":") {
		candidate := name
		if dir != "" {
			candidate = dir + "/" + name
		}
		if len(dir) >= unix.PathMax {
			continue
		}
		p, err := look(candidate)
		e, failed := err.(*Error)
		if !failed {
			return p, nil
		}
		isThere := e.Script != ""
		switch e.Err {
		case ErrNotExecutable, ErrNotRegular, ErrNoInterpreter:
			isThere = true
		case unix.ENOENT, unix.EACCES, unix.ENOTDIR, unix.ESTALE, unix.ENODEV, unix.ETIMEDOUT:
		default:
			return nil, e
		}
		// Of those that are there and cannot run, the first is the error; one that
		// lacks its interpreter only when there is no other.
		if isThere && (best.Err == ErrNotInPath || best.Missing() && !e.Missing()) {
			best = e
		}
	}
	return nil, best
}

// A Program is what the kernel will meet when it executes a path: the file, and
// for a script its "#!" interpreter, and so on. Credentials come from the last
// file, which stays open.
//
// The path can lead elsewhere at the exec: the look narrows that race, and cannot
// close it. Handlers of binfmt_misc are not followed, they are not visible in a
// container: with their flag C credentials come from the file, as predicted here,
// and without it from the handler's interpreter.
type Program struct {
	Path  string // what execve(2) is given
	Files []*File
	copy  int // descriptor of the copy, 0 without one
}

// maxFiles is how many files in a row the kernel loads, exec_binprm in fs/exec.c.
const maxFiles = 6

// look follows the "#!" lines that begin at path.
func look(path string) (*Program, error) {
	p := &Program{Path: path}
	for next := path; ; {
		f, err := open(next)
		if err != nil {
			e := &Error{Path: next, Err: err}
			if len(p.Files) > 0 {
				e.Script = p.Last().Path
			}
			p.Close()
			return nil, e
		}
		p.Close() // a script's descriptor is of no use any more
		p.Files = append(p.Files, f)
		s, isScript := ParseShebang(f.Head)
		switch f.Shebang = s; {
		case len(p.Files) > maxFiles:
			p.Close()
			return nil, &Error{Path: path, Err: ErrTooDeep}
		case !isScript:
			return p, nil
		case s.Interp == "":
			p.Close()
			return nil, &Error{Path: f.Path, Err: ErrNoInterpreter}
		}
		next = s.Interp
	}
}

// Last is the file that credentials come from.
func (p *Program) Last() *File { return p.Files[len(p.Files)-1] }

// Close closes the last file.
func (p *Program) Close() {
	if len(p.Files) > 0 && p.Last().fd >= 0 {
		_ = unix.Close(p.Last().fd)
		p.Last().fd = -1
	}
}
