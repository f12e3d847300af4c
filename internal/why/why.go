//go:build linux

// Package why says in words why a program cannot be executed, and what to change. It only looks: as the present
// user, at the file that was found and at what it needs. What it says decides nothing.
package why

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/elf"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// Explain says why e came about, and what to change; p is the program, where one was found.
func Explain(e *exec.Error, p *exec.Program) (text, hint string) {
	c := &cause{Error: e, program: p, culprit: e.Path}
	r := c.find()
	var st unix.Stat_t
	_ = unix.Stat(c.Path, &st)
	fill := strings.NewReplacer(
		"{path}", shell.Word(ownPath(c.Path)), "{culprit}", shell.Word(c.culprit),
		"{errno}", c.Err.Error(), "{uid}", fmt.Sprint(unix.Geteuid()), "{kind}", kind(st.Mode),
		"{mode}", fmt.Sprintf("%04o", st.Mode&0o7777), "{owner}", fmt.Sprintf("%d:%d", st.Uid, st.Gid),
		"{arch}", c.header.Arch(), "{goarch}", runtime.GOARCH, "{mend}", Mend(p), "{strip}", strip(p))
	who := shell.Word(c.Path)
	if c.Script != "" {
		who += ", the interpreter of " + shell.Word(c.Script)
	}
	return who + ": " + fill.Replace(r.text), fill.Replace(r.hint)
}

// A cause is an error that is being looked into.
type cause struct {
	*exec.Error
	program *exec.Program
	culprit string // an interpreter or a directory
	header  elf.Header
}

// find is the reason for the error.
func (c *cause) find() *row {
	switch e := c.Err; {
	case c.Copy && e == unix.EACCES:
		return copyForbidden
	case c.Copy && e == unix.EFBIG:
		return copyTooLarge
	case c.Copy && e == exec.ErrUnreadable:
		return unreadable
	case c.Copy && e != unix.EMFILE && e != unix.ENFILE && errors.As(e, new(unix.Errno)):
		return copyFailed
	case e == unix.ENOENT:
		return c.absent()
	case e == exec.ErrNotExecutable, e == unix.EACCES:
		return c.inaccessible()
	case e == unix.EPERM && c.program != nil && c.program.Last().HasCaps():
		return uncoveredCaps
	case e == unix.ENOEXEC, e == unix.EINVAL, e == unix.ELIBBAD, e == unix.EIO:
		if r := c.content(); r != nil {
			return r
		}
	}
	r := map[error]*row{
		exec.ErrNotInPath: notInPath, exec.ErrNoName: noName, exec.ErrNotRegular: notRegular, exec.ErrNoInterpreter: noInterpreter,
		exec.ErrTooDeep: tooDeep, exec.ErrBadCaps: badCaps, exec.ErrHiddenCaps: hiddenCaps, exec.ErrForeignCaps: foreignCaps, exec.ErrUnreadable: opaque,
		exec.ErrOrigin: origin, exec.ErrChanged: changed, exec.ErrReturned: returned,
		unix.ETXTBSY: textBusy, unix.E2BIG: tooLong, unix.EAGAIN: tooManyProcesses, unix.ENOMEM: noMemory, unix.EPERM: refused,
		unix.EMFILE: tooManyFiles, unix.ENFILE: tooManyFiles, unix.EIO: badDisk, unix.EINTR: badDisk,
		unix.ELOOP: notReached, unix.ENOTDIR: notReached, unix.ENAMETOOLONG: notReached,
	}[c.Err]
	if r == nil {
		return unexplained
	}
	return r
}

// absent looks for what does not exist: the file, or an interpreter of it.
func (c *cause) absent() *row {
	if c.Script != "" {
		c.culprit, c.Error = c.Path, &exec.Error{Path: c.Script, Err: c.Err}
		if strings.HasSuffix(c.culprit, "\r") {
			return carriageReturn
		}
		return missingInterpreter
	}
	if c.program == nil {
		return notFound
	}
	f := c.program.Last()
	if !f.Readable {
		return hidden
	}
	var err error
	c.header, err = f.ELF()
	native := c.header.RunsOn(runtime.GOARCH)
	if err != nil || native && c.header.Interp == "" {
		return notFound
	}
	c.Error = &exec.Error{Path: f.Path, Err: c.Err}
	if !native {
		return missingEmulator
	}
	switch c.culprit = c.header.Interp; {
	case strings.Contains(c.culprit, "ld-musl"):
		return missingMusl
	case c.header.Arch() == "386" && runtime.GOARCH == "amd64" && strings.Contains(c.culprit, "ld-linux"):
		return missingGlibc32
	case strings.Contains(c.culprit, "ld-linux"), strings.Contains(c.culprit, "/ld64.so"), strings.HasSuffix(c.culprit, "/ld.so.1"):
		return missingGlibc
	}
	return missingLoader
}

// inaccessible looks for what the user may not do: search a directory on the way, or execute the file or its ELF
// interpreter.
func (c *cause) inaccessible() *row {
	if c.Err == unix.EACCES && c.Script == "" && c.program != nil { // execve said so of a file that may be executed
		if e := loaderDoubt(c.program); e != nil && e.Script != "" {
			c.Error = e
			return c.find()
		}
	}
	var fs unix.Statfs_t
	switch dir := unsearchable(c.Path); {
	case dir != "":
		c.culprit = dir
		return notSearchable
	case unix.Statfs(c.Path, &fs) == nil && fs.Flags&unix.MS_NOEXEC != 0:
		return noExecMount
	case c.Err == unix.EACCES && unix.Faccessat(unix.AT_FDCWD, c.Path, unix.X_OK, unix.AT_EACCESS) == nil:
		return refused
	}
	return notExecutable
}

// unsearchable is the directory on the way to path, symlinks followed, that the user may not search, or "".
func unsearchable(path string) string {
	var failed *os.PathError
	if _, err := filepath.EvalSymlinks(path); errors.As(err, &failed) && failed.Err == unix.EACCES {
		return filepath.Dir(failed.Path)
	}
	return ""
}

// content says what about the file made execve refuse it, nil when nothing about it does.
func (c *cause) content() *row {
	if c.program == nil {
		return nil
	}
	f := c.program.Last()
	c.Error = &exec.Error{Path: f.Path, Err: c.Err}
	var err error
	c.header, err = f.ELF()
	isELF := !errors.Is(err, elf.ErrNotELF)
	switch {
	case f.HasCaps() && c.Err == unix.EINVAL:
		return badCaps
	case !f.Readable:
		return hidden
	case len(f.Head) == 0:
		return empty
	case !isELF && c.Err == unix.ENOEXEC && isText(f.Head):
		return noFormat
	case !isELF && c.Err == unix.ENOEXEC:
		return notText
	case !isELF:
		return nil
	case c.Err == unix.ENOEXEC && c.header.Machine != 0 && c.header.Arch() != runtime.GOARCH:
		return wrongArch
	case c.Err != unix.ENOEXEC && err == nil && c.header.Interp != "":
		c.culprit = c.header.Interp
		return badLoader
	}
	return malformedELF
}

func isText(head []byte) bool {
	return !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' })
}

// Doubt is the error with which execve will answer because of what the file contains, nil for what the kernel runs
// by itself. It is foreign where a handler of binfmt_misc may run the file all the same.
func Doubt(p *exec.Program) (e *exec.Error, foreign bool) {
	f := p.Last()
	header, err := f.ELF()
	switch {
	case !f.Readable:
		return nil, false
	case err == nil && header.RunsOn(runtime.GOARCH):
		return loaderDoubt(p), false
	}
	return &exec.Error{Path: p.Path, Err: unix.ENOEXEC}, err == nil || errors.Is(err, elf.ErrNotELF) && !isText(f.Head)
}

// loaderDoubt is Doubt about the ELF interpreter.
func loaderDoubt(p *exec.Program) *exec.Error {
	header, err := p.Last().ELF()
	if err != nil || header.Interp == "" {
		return nil
	}
	loader, err := exec.Find(header.Interp, "")
	if e, failed := err.(*exec.Error); failed {
		if e.Missing() {
			return &exec.Error{Path: p.Path, Err: unix.ENOENT}
		}
		return &exec.Error{Path: e.Path, Script: p.Last().Path, Err: e.Err}
	}
	defer loader.Close()
	if !loader.Last().Readable {
		return nil // nothing can be told of it
	}
	if l, err := loader.Last().ELF(); err != nil || len(loader.Files) > 1 || l.Machine != header.Machine {
		return &exec.Error{Path: p.Path, Err: unix.ELIBBAD}
	}
	return nil
}
