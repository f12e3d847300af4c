package main

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/origin"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// install copies the running binary to a folder or a path: into a temporary file
// beside it, which then takes its place in one step. What runs from there goes on
// with the old one. It follows no symlink, and keeps to the folder that it opened.
func (a *app) install(c *installCmd) error {
	// Whoever calls a set-uid caplaunch must not write where its owner may.
	if err := a.notBorrowed(); err != nil {
		return err
	}
	fail := func(what string, err error) error {
		hint := "caplaunch install /shared, where /shared is a folder that can be written, such as a volume"
		switch {
		case errors.Is(err, unix.EFBIG):
			hint = "ulimit -f unlimited"
		case errors.Is(err, unix.EMFILE):
			hint = "ulimit -n 1024"
		case errors.Is(err, unix.ELOOP):
			hint = "the path that the symlink stands for: readlink -f " + shell.Word(c.Dest)
		}
		return usagef(hint, "cannot install to %q: %s%w", c.Dest, what, err)
	}
	if c.Dest == "" {
		return fail("", errors.New("it is empty"))
	}
	dir, err := openFolder(c.Dest)
	name := "caplaunch"
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		if strings.HasSuffix(c.Dest, "/") {
			return fail("", errors.New("is no folder"))
		}
		name = path.Base(c.Dest)
		dir, err = openFolder(path.Dir(c.Dest))
	}
	if err != nil {
		return fail("", err)
	}
	defer unix.Close(dir)
	if err := mayReplace(dir, name); err != nil {
		return fail("", err)
	}
	self, err := a.openItself()
	if err != nil {
		return fail("the running binary cannot be read: ", err)
	}
	defer unix.Close(int(self))

	origin.Ignore(^origin.Signals(0)) // a signal must not leave the temporary file behind
	var random [8]byte
	_, _ = unix.Getrandom(random[:], unix.GRND_NONBLOCK) // O_EXCL refuses a name that is taken
	temporary := fmt.Sprintf(".caplaunch-%x", random)
	err = write(dir, temporary, self)
	if err == nil {
		err = unix.Renameat(dir, temporary, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temporary, 0) // the error that counts is the first
		return fail("", err)
	}
	return nil
}

// openFolder opens a folder, without following a symlink on the way.
func openFolder(path string) (int, error) {
	at := "."
	if strings.HasPrefix(path, "/") {
		at = "/"
	}
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(at, flags, 0)
	for part := range strings.SplitSeq(path, "/") {
		if err != nil || part == "" {
			continue
		}
		var next int
		next, err = unix.Openat(fd, part, flags, 0)
		var st unix.Stat_t
		if unix.Fstatat(fd, part, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			err = fmt.Errorf("%s is a symlink: %w", part, unix.ELOOP)
		}
		_ = unix.Close(fd)
		fd = next
	}
	return fd, err
}

// mayReplace reports what stands where the copy is to be: nothing, or a file.
func mayReplace(dir int, name string) error {
	var st unix.Stat_t
	switch err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%s is a symlink: %w", name, unix.ELOOP)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s is not a regular file", name)
	}
	return nil
}

// write makes a new file that everybody may execute and nobody may write.
func write(dir int, name string, from io.Reader) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := io.Copy(descriptor(fd), from); err != nil {
		return err
	}
	return errors.Join(unix.Fchmod(fd, 0o555), unix.Fsync(fd))
}

// openItself opens the running binary; without /proc it is the one that argv[0]
// leads to.
func (a *app) openItself() (descriptor, error) {
	if linux.HasProc() {
		fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return descriptor(fd), err
	}
	p, err := exec.Find(a.args[0], exec.SearchPath(a.environ))
	if err != nil {
		return -1, err
	}
	defer p.Close()
	fd, err := unix.Open(p.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return descriptor(fd), err
}
