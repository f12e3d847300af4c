//go:build linux

package exec

import (
	"bytes"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Program is what the kernel will meet when it executes a path: the file, and
// for a script its "#!" interpreter, and so on. Credentials come from the last
// file. Everything that explains a failed exec is in it, because after the
// switch the files may be unreadable.
//
// The path can lead elsewhere at the exec: the look narrows that race, and only
// Strip closes it. Handlers of binfmt_misc are not followed, they are not
// visible in a container: their flag C, which qemu's handlers have, makes
// credentials come from the file as predicted here; without it they come from
// the handler's interpreter. Neither is a mount that belongs to another user or
// mount namespace recognised, on which the kernel ignores file capabilities and
// set-id bits: predicting them refuses too much there, never too little.
type Program struct {
	Files []File
	host  ambient.Host
}

// A File is what execve(2) sees of one file.
type File struct {
	Path    string // as the user, PATH or a "#!" line spells it
	Format  Format
	Shebang Shebang // of a Script
	ELF     ELF     // of an ELFFile
	NoSuid  bool    // on a nosuid mount
	Caps    []byte  // security.capability, nil without one or on a nosuid mount

	stat     unix.Stat_t
	capsErr  unix.Errno // Caps is there and cannot be read
	readable bool       // for the user
	text     bool       // the first bytes are text
}

// A Format is what the first bytes of a file make of it.
type Format uint8

// The formats. Opaque files cannot be read by whoever runs them, so that no
// interpreter can either: a script like that never works, and an ELF file's
// credentials are its own.
const (
	Unknown Format = iota
	Script
	ELFFile
	BrokenELF
	EmptyFile
	Opaque
)

// maxFiles is how many files in a row the kernel loads: six times
// search_binary_handler, in exec_binprm of fs/exec.c.
const maxFiles = 6

// Path is what execve(2) is to be given.
func (p Program) Path() string { return p.Files[0].Path }

// source is the file that credentials come from.
func (p Program) source() *File { return &p.Files[len(p.Files)-1] }

// Inspect looks at path as the kernel will at execve(2) by v. The host tells
// which capabilities and ids the kernel knows.
//
// The error is an *Error: the file, its "#!" interpreter or its ELF interpreter
// does not exist or may not be executed, or cannot be seen from here (Unseen).
// A format that this kernel does not run is none: binfmt_misc may run it.
func Inspect(path string, v *Viewer, host ambient.Host) (Program, error) {
	p := Program{host: host}
	for {
		f, err := inspectFile(path, v)
		if err != nil {
			if len(p.Files) > 0 {
				err = missing(err, MissingInterpreter, p.source())
			}
			return Program{}, err
		}
		p.Files = append(p.Files, f)
		if len(p.Files) > maxFiles {
			return Program{}, &Error{Reason: TooDeep, Path: p.Path(), Errno: unix.ELOOP}
		}
		if f.Format != Script {
			break
		}
		if path = f.Shebang.Interp; path == "" {
			// "#!" alone: the kernel takes the current directory for it.
			return Program{}, &Error{Reason: NoFormat, Path: f.Path, Errno: unix.EACCES}
		}
	}
	if f := p.source(); f.Format == ELFFile && f.ELF.Interp != "" && f.ELF.Native() {
		// That it exists is all that is worth the time before the switch.
		if _, _, err := reach(f.ELF.Interp, nil); v == nil && err != nil || errors.Is(err, unix.ENOENT) {
			return Program{}, missing(err, MissingLoader, f)
		}
	}
	return p, nil
}

// missing says of an error with an interpreter which file needs it, f, and
// turns "not found" into the reason.
func missing(err error, reason Reason, f *File) error {
	var e *Error
	if errors.As(err, &e) {
		if e.Reason == NotFound {
			return &Error{Reason: reason, Path: f.Path, Culprit: e.Path, Errno: unix.ENOENT, Arch: f.ELF.Arch()}
		}
		e.For = f.Path
	}
	return err
}

// reach is resolve, and the checks that execve(2) makes before it reads a file:
// a regular file, on no noexec mount, that v may execute.
func reach(path string, v *Viewer) (string, unix.Stat_t, error) {
	at, st := path, unix.Stat_t{}
	err := unix.Stat(path, &st)
	switch {
	case err == unix.ENOENT:
		// Also where v may not look, who would get EACCES: this helps more.
		return "", st, &Error{Reason: NotFound, Path: path, Errno: unix.ENOENT, UID: v.uid()}
	case err != nil || v != nil:
		if at, st, err = resolve(path, v); err != nil {
			return "", st, err
		}
	}
	e := &Error{Path: path, Errno: unix.EACCES, Mode: st.Mode, Owner: [2]uint32{st.Uid, st.Gid}, UID: v.uid()}
	var fs unix.Statfs_t
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		e.Reason = NotRegular
	} else if err := unix.Statfs(at, &fs); err != nil {
		e.Reason, e.Errno = Refused, err.(unix.Errno)
	} else if fs.Flags&unix.MS_NOEXEC != 0 {
		e.Reason = NoExecMount
	} else if !v.may(at, &st, unix.X_OK) {
		if e.Reason = NotExecutable; v != nil && slices.Contains(served, uint32(fs.Type)) {
			e.Reason, e.Culprit = Unseen, at
		}
	} else {
		return at, st, nil
	}
	return "", st, e
}

// inspectFile is reach, and what can be read of the file. The error is an
// *Error.
func inspectFile(path string, v *Viewer) (File, error) {
	f := File{Path: path, Format: Opaque}
	at, st, err := reach(path, v)
	if err != nil {
		return f, err
	}
	f.readable = v.may(at, &st, unix.R_OK)
	refuse := func(r Reason, err error) (File, error) {
		return f, &Error{Reason: r, Path: path, Culprit: at, Errno: err.(unix.Errno), UID: v.uid()}
	}
	// O_NONBLOCK for the FIFO that took the file's place since.
	fd, err := open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	opaque := err == unix.EACCES || err == unix.EPERM
	if opaque {
		if v != nil && f.readable {
			return refuse(Unseen, err)
		}
		fd, err = open(path, unix.O_PATH)
	}
	if err != nil {
		return refuse(Refused, err)
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	if err := unix.Fstat(fd, &f.stat); err != nil {
		return refuse(Refused, err)
	}
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return refuse(Refused, err)
	}
	if !opaque {
		if err := f.readHead(fd); err != nil {
			return refuse(Refused, err)
		}
	}
	if f.NoSuid = fs.Flags&unix.MS_NOSUID != 0; f.NoSuid {
		return f, nil
	}
	const attr = "security.capability"
	caps := make([]byte, 64) // larger ones are ERANGE for the kernel as well
	var n int
	if opaque {
		n, err = unix.Getxattr(path, attr, caps) // it needs no right to read
	} else {
		n, err = unix.Fgetxattr(fd, attr, caps)
	}
	switch err {
	case nil:
		f.Caps = caps[:n]
	case unix.ENODATA, unix.EOPNOTSUPP:
		// Also a revision 3 attribute whose root is neither this namespace's
		// nor an ancestor's nor mapped here: it does not count.
	default:
		f.capsErr = err.(unix.Errno)
	}
	return f, nil
}

// open is open(2), which file systems in user space let signals interrupt.
func open(path string, flags int) (fd int, err error) {
	for {
		if fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0); err != unix.EINTR {
			return fd, err
		}
	}
}

// fdReader reads a descriptor without owning it.
type fdReader int

func (fd fdReader) ReadAt(b []byte, off int64) (int, error) { return unix.Pread(int(fd), b, off) }

// readHead finds out the format of the file that is open as fd.
func (f *File) readHead(fd int) error {
	head := make([]byte, headSize)
	n, err := unix.Pread(fd, head, 0)
	if err != nil {
		return err
	}
	head = head[:n]
	f.Format = Unknown
	f.text = !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' })
	if n == 0 {
		f.Format = EmptyFile
	} else if s, ok := ParseShebang(head); ok {
		f.Format, f.Shebang = Script, s
	} else if n >= len(elfMagic) && string(head[:len(elfMagic)]) == elfMagic {
		f.Format = ELFFile
		if f.ELF, err = ParseELF(fdReader(fd)); err != nil {
			f.Format = BrokenELF
		}
	}
	return nil
}

// noUID is an id that nobody has.
const noUID = ^uint32(0)

// Credentials is what execve(2) takes from the file that it gets credentials
// from, for the execve rules of package ambient. The error is an *Error: the
// file's capabilities make no sense to the kernel (BadCaps), or belong to the
// root of a namespace which may or may not be an ancestor (ForeignCaps: the
// kernel tells only about its own).
//
// Set-id bits count where the kernel honours them: set-gid only with x for the
// group, and both only where owner and group are mapped in this user namespace.
// stat(2) shows 65534 for an unmapped id, so where 65534 itself is mapped such
// a file counts, wrongly: refused rather than guessed.
func (p Program) Credentials() (ambient.File, error) {
	f, c := p.source(), ambient.File{}
	if f.NoSuid {
		return c, nil
	}
	refuse := func(e Error) (ambient.File, error) {
		e.Path, e.mend, e.uncopyable = f.Path, f.mend(), p.Uncopyable() != nil
		return c, &e
	}
	if f.capsErr == unix.EOVERFLOW && p.host.Nested {
		// The root that they belong to is not mapped here at all.
		return refuse(Error{Reason: ForeignCaps, UID: noUID})
	}
	if f.capsErr != 0 {
		return refuse(Error{Reason: BadCaps, Errno: f.capsErr})
	}
	if f.Caps != nil {
		caps, err := ParseFileCaps(f.Caps)
		switch {
		case err != nil:
			return refuse(Error{Reason: BadCaps, Errno: unix.EINVAL})
		case caps.RootID == 0:
			c.Caps = &ambient.FileCaps{Permitted: caps.Permitted & p.host.Known, Inheritable: caps.Inheritable & p.host.Known, Effective: caps.Effective}
		case p.host.Nested:
			return refuse(Error{Reason: ForeignCaps, UID: caps.RootID})
		}
	}
	if p.host.UIDs.Has(f.stat.Uid) && p.host.GIDs.Has(f.stat.Gid) {
		uid, gid := f.stat.Uid, f.stat.Gid
		if f.stat.Mode&unix.S_ISUID != 0 {
			c.SetUID = &uid
		}
		if bits := uint32(unix.S_ISGID | unix.S_IXGRP); f.stat.Mode&bits == bits {
			c.SetGID = &gid
		}
	}
	return c, nil
}

// Privileged reports whether the file that credentials come from has any, or
// has something that cannot be told: whether Copy is called for.
func (p Program) Privileged() bool {
	c, err := p.Credentials()
	return err != nil || c != ambient.File{}
}
