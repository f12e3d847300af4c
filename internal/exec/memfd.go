//go:build linux

package exec

import (
	"path"

	"golang.org/x/sys/unix"
)

// Copy makes a sealed copy of the file that credentials come from in memory,
// memfd_create(2), where it has no file capabilities and no set-id bits: for a
// script of its interpreter, which then gets the arguments that the kernel would
// have made. Replace executes it. The present user has to be able to read the
// file. The copy costs as much memory as the file is long, and leaves one
// descriptor, closed by the exec.
//
// What the program notices: /proc/self/exe is the copy, and the name in ps -e is
// "memfd:" and the program's (since Linux 6.14, a number before). What
// binfmt_misc runs needs a handler with the flag O or C, as qemu's have.
//
// The error is an *Error with Copy set.
func (p *Program) Copy() error {
	f := p.Last()
	fail := func(err error) error { return &Error{Path: f.Path, Err: err, Copy: true} }
	switch header, _ := f.ELF(); {
	case !f.Readable:
		return fail(ErrUnreadable)
	case f.unsure:
		return fail(ErrNotExecutable)
	case header.Origin:
		return fail(ErrOrigin)
	}
	dst, err := memfd(path.Base(p.Path))
	if err != nil {
		return fail(err)
	}
	err = fill(dst, f.fd, f.Stat.Size)
	if !f.isUnchanged() { // after the copy: the bytes inspected are the bytes copied
		err = ErrChanged
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(dst), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		_ = unix.Close(dst)
		return fail(err)
	}
	p.copy = dst
	return nil
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
	if err == nil && fd <= 2 { // the runtime keeps 0 to 2 open: somebody else has answered
		return -1, unix.EBADF
	}
	return fd, err
}

// fill copies size bytes inside the kernel.
func fill(dst, src int, size int64) error {
	for size > 0 {
		n, err := unix.Sendfile(dst, src, nil, int(min(size, 1<<30)))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n <= 0:
			return ErrChanged
		default:
			size -= int64(n)
		}
	}
	return nil
}

// prefix is what load_script in fs/binfmt_script.c puts in the place of
// argv[0], for each script of the chain: the interpreter, its argument, and the
// script's path. It is nil for a program that is no script.
func (p *Program) prefix() []string {
	var args []string
	for _, f := range p.Files[:len(p.Files)-1] {
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
