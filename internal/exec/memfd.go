//go:build linux

package exec

import (
	"path"

	"golang.org/x/sys/unix"
)

// A Target is what Replace executes: a path, or a file that is held open: the
// one that was inspected, or its copy in memory.
type Target struct {
	program Program
	fd      int      // of the file, -1 for the path
	prefix  []string // of a "#!" interpreter: what the kernel puts in the place of argv[0]
}

// Target is the program by its path.
func (p Program) Target() Target { return Target{program: p, fd: -1} }

// Held reports whether it is a file that is held open, and not a path.
func (t Target) Held() bool { return t.fd >= 0 }

// Strip makes sure that what was inspected is what is executed, without the
// privilege of its file, wherever the path leads by then: it copies the file
// that credentials come from if it has any, and holds it open if not. What Copy
// says goes for both, but that /proc/self/exe, $ORIGIN and, since Linux 6.14,
// the name are those of the file that is held.
func (p Program) Strip() (Target, error) {
	if p.Privileged() {
		return p.Copy()
	}
	f := p.source()
	fail := func(r Reason, err error) (Target, error) {
		e := &Error{Reason: r, Path: f.Path, Mode: f.stat.Mode, Owner: [2]uint32{f.stat.Uid, f.stat.Gid}, mend: f.mend()}
		e.Errno, _ = err.(unix.Errno)
		return Target{}, e
	}
	fd, err := open(f.Path, unix.O_PATH) // who may execute it need not be able to read it
	switch {
	case err == unix.ENOENT:
		return fail(Changed, nil)
	case err != nil:
		return fail(Refused, err)
	case !f.is(fd):
		unix.Close(fd)
		return fail(Changed, nil)
	}
	return Target{program: p, fd: fd, prefix: p.prefix()}, nil
}

// Copy makes a sealed copy of the file that credentials come from in memory,
// memfd_create(2), where it has no file capabilities and no set-id bits: for a
// script of its interpreter, which then gets the arguments that the kernel would
// have made. It works before the switch and after it, costs as much memory as
// the file is long, and leaves one descriptor, closed by the exec.
//
// What the program notices: /proc/self/exe is the copy, $ORIGIN does not
// resolve, and the name in ps -e is "memfd:" and the program's (since Linux
// 6.14, a number before). What binfmt_misc runs needs a handler with the flag O
// or C, as qemu's have: without, the emulator finds the copy closed.
//
// The error is an *Error: the file cannot be read (Unreadable), is not the one
// that was inspected any more (Changed), or the copy cannot be made.
func (p Program) Copy() (Target, error) {
	f := p.source()
	fail := func(r Reason, err error) (Target, error) {
		e := &Error{Reason: r, Path: f.Path, Mode: f.stat.Mode, Owner: [2]uint32{f.stat.Uid, f.stat.Gid}, mend: f.mend()}
		e.Errno, _ = err.(unix.Errno)
		return Target{}, e
	}
	if f.Format == Opaque {
		return fail(Unreadable, unix.EACCES)
	}
	src, err := open(f.Path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	switch err {
	case nil:
	case unix.EACCES, unix.EPERM:
		return fail(Unreadable, err)
	case unix.ENOENT:
		return fail(Changed, nil)
	default:
		return fail(CopyFailed, err)
	}
	defer unix.Close(src)
	// Past this limit a write is answered with SIGXFSZ.
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) == nil && uint64(f.stat.Size) > limit.Cur {
		return fail(CopyTooLarge, unix.EFBIG)
	}
	dst, err := memfd(path.Base(p.Path()))
	switch err {
	case nil:
	case unix.EACCES:
		return fail(CopyForbidden, err)
	default:
		return fail(CopyFailed, err)
	}
	t := Target{program: p, fd: dst, prefix: p.prefix()}
	if err := fill(dst, src, f.stat.Size); err != nil {
		unix.Close(dst)
		return fail(CopyFailed, err)
	}
	// Looked at after the copy, so that it spans the copy and the inspection:
	// the bytes inspected are the bytes copied.
	if !f.is(src) {
		unix.Close(dst)
		return fail(Changed, nil)
	}
	// Whoever may execute the file may execute the copy, which root may own;
	// but who may not read the file shall not read it in /proc/self/exe either.
	mode := uint32(0o111)
	if f.readable {
		mode = 0o555
	}
	if err := unix.Fchmod(dst, mode); err != nil {
		unix.Close(dst)
		return fail(CopyFailed, err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(dst), unix.F_ADD_SEALS, seals); err != nil {
		unix.Close(dst)
		return fail(CopyFailed, err)
	}
	return t, nil
}

// memfd is memfd_create(2) of an executable file, whatever vm.memfd_noexec says
// short of 2, for which the error is EACCES.
func memfd(name string) (int, error) {
	const longest = 249
	name = name[:min(len(name), longest)]
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	return fd, err
}

// fill copies size bytes inside the kernel; a file that has become shorter is
// left to the comparison that follows.
func fill(dst, src int, size int64) error {
	for size > 0 {
		n, err := unix.Sendfile(dst, src, nil, int(min(size, 1<<30)))
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
		case err != nil:
			return err
		case n == 0:
			return nil
		}
		size -= int64(max(n, 0))
	}
	return nil
}

// is reports whether fd is the file that was inspected, unchanged since.
func (f *File) is(fd int) bool {
	var now unix.Stat_t
	if unix.Fstat(fd, &now) != nil {
		return false
	}
	was := &f.stat
	return now.Dev == was.Dev && now.Ino == was.Ino && now.Size == was.Size && now.Mode == was.Mode &&
		now.Uid == was.Uid && now.Gid == was.Gid && now.Mtim == was.Mtim && now.Ctim == was.Ctim
}

// prefix is what load_script in fs/binfmt_script.c puts in the place of
// argv[0], for each script of the chain: the interpreter, its argument, and the
// script's path. It is nil for a program that is no script.
func (p Program) prefix() []string {
	var args []string
	for _, f := range p.Files {
		if f.Format != Script {
			break
		}
		if args == nil {
			args = []string{f.Path}
		}
		head := []string{f.Shebang.Interp}
		if f.Shebang.HasArg {
			head = append(head, f.Shebang.Arg)
		}
		args = append(head, args...)
	}
	return args
}
