//go:build linux

package exec

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/elf"
)

// A File is what execve(2) sees of one file. All of it comes from the file that
// was opened, so that a path which leads elsewhere a moment later makes no
// mixture of two.
type File struct {
	Path     string // as the user, PATH or a "#!" line spells it
	Head     []byte // the first bytes, at most as many as the kernel looks at
	Shebang  Shebang
	Stat     unix.Stat_t
	Readable bool // for the present user

	fd      int        // open for reading, or by O_PATH; -1 when closed
	nosuid  bool       // on a nosuid mount
	unsure  bool       // whether the user may execute it is left to execve
	caps    []byte     // security.capability, nil without one
	capsErr unix.Errno // it is there and cannot be read
}

// open opens path and looks at what it found. The error is an errno or one of
// those of the package.
func open(path string) (*File, error) {
	const quick = unix.O_CLOEXEC | unix.O_NOCTTY | unix.O_NONBLOCK
	at, err := openRetry(path, unix.O_PATH|unix.O_CLOEXEC) // a device would notice another open
	if err != nil {
		return nil, err
	}
	f := &File{Path: path, fd: at}
	fail := func(err error) (*File, error) {
		_ = unix.Close(f.fd)
		return nil, err
	}
	var fs unix.Statfs_t
	if err := unix.Fstat(at, &f.Stat); err != nil {
		return fail(err)
	}
	if f.Stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return fail(ErrNotRegular)
	}
	if err := unix.Fstatfs(at, &fs); err != nil {
		return fail(err)
	}
	f.nosuid = fs.Flags&unix.MS_NOSUID != 0
	if err := f.checkExecutable(); err != nil {
		return fail(err)
	}
	switch fd, err := openRetry(path, unix.O_RDONLY|quick); err {
	case nil:
		_ = unix.Close(at)
		f.fd, f.Readable = fd, true
		if !f.isUnchanged() {
			return fail(ErrChanged)
		}
		head := make([]byte, headSize)
		n, err := unix.Pread(fd, head, 0)
		if err != nil {
			return fail(err)
		}
		// A file that seems shorter than it is would hide the interpreter that it names.
		if f.Head = head[:min(n, headSize)]; int64(n) < min(f.Stat.Size, headSize) {
			return fail(ErrChanged)
		}
	case unix.EACCES, unix.EPERM: // who may execute it need not be able to read it
		// A single answer that was not the kernel's would hide the interpreter of a script.
		if again, err := openRetry(path, unix.O_RDONLY|quick); err == nil {
			_ = unix.Close(again)
			return fail(ErrChanged)
		}
	case unix.EAGAIN: // somebody holds a lease for writing, fcntl(2)
		return fail(unix.ETXTBSY)
	default:
		return fail(err)
	}
	if err := f.readCaps(); err != nil {
		return fail(err)
	}
	return f, nil
}

// openRetry is open(2), which file systems in user space let signals interrupt.
func openRetry(path string, flags int) (fd int, err error) {
	for {
		if fd, err = unix.Open(path, flags, 0); err != unix.EINTR {
			return fd, err
		}
	}
}

// checkExecutable asks the kernel whether the present user may execute the file, with
// its effective capabilities, ACLs, mounts and security modules. The error is
// ErrNotExecutable or an errno.
func (f *File) checkExecutable() error {
	var empty [1]byte
	_, _, e := unix.RawSyscall6(unix.SYS_FACCESSAT2, uintptr(f.fd), uintptr(unsafe.Pointer(&empty[0])), unix.X_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS, 0, 0)
	if e == unix.ENOSYS || e == unix.EPERM { // before Linux 5.8, or a filter
		e = 0
		if unix.Access(f.Path, unix.X_OK) != nil {
			// access(2) counts no effective capability. Where there is one that opens
			// files, its "no" may be wrong, unless the file has no x at all.
			const opens = 1<<1 | 1<<2 // dac_override, dac_read_search
			now, err := linux.Kernel{}.State()
			f.unsure = err == nil && now.Effective&opens != 0 && f.Stat.Mode&0o111 != 0
			if !f.unsure {
				e = unix.EACCES
			}
		}
	}
	switch e {
	case 0:
		return nil
	case unix.EACCES:
		return ErrNotExecutable
	}
	return e
}

// errHidden stands for an answer that was not the kernel's.
const errHidden = ^unix.Errno(0)

// readCaps reads security.capability. The error is ErrChanged or an errno.
func (f *File) readCaps() error {
	const attr = "security.capability"
	caps := make([]byte, 64) // larger ones are ERANGE for the kernel as well
	// A filter that answers as if there were none would hide them: so first come
	// questions that the kernel must refuse.
	_, noFile := unix.Fgetxattr(-1, attr, caps)
	_, noPath := unix.Getxattr("", attr, caps)
	if noFile != unix.EBADF || noPath != unix.ENOENT {
		f.capsErr = errHidden
		return nil
	}
	n, err := unix.Fgetxattr(f.fd, attr, caps)
	if !f.Readable { // a descriptor of O_PATH has no attributes; the path needs no right to read
		n, err = unix.Getxattr(f.Path, attr, caps)
		var now unix.Stat_t
		if unix.Stat(f.Path, &now) != nil || now.Dev != f.Stat.Dev || now.Ino != f.Stat.Ino { // while it is open no other gets its number
			return ErrChanged
		}
	}
	switch err {
	case nil:
		f.caps = caps[:n]
	case unix.ENODATA, unix.EOPNOTSUPP:
		// Also a revision 3 attribute whose root is neither this namespace's
		// nor an ancestor's nor mapped here: it does not count.
	default:
		f.capsErr, _ = err.(unix.Errno)
	}
	return nil
}

// isUnchanged reports whether the open descriptor is the file that was looked at,
// and has not been written to since.
func (f *File) isUnchanged() bool {
	var now unix.Stat_t
	if unix.Fstat(f.fd, &now) != nil {
		return false
	}
	was := &f.Stat
	return now.Dev == was.Dev && now.Ino == was.Ino && now.Size == was.Size && now.Mode == was.Mode &&
		now.Uid == was.Uid && now.Gid == was.Gid && now.Mtim == was.Mtim && now.Ctim == was.Ctim
}

// ReadAt reads the file, pread(2).
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	n, err := unix.Pread(f.fd, b, off)
	return max(n, 0), err
}

// ELF reads the headers of the file.
func (f *File) ELF() (elf.Header, error) { return elf.Parse(f) }

// HasCaps and HasSetID report what the file has that can give privilege.
func (f *File) HasCaps() bool  { return f.caps != nil || f.capsErr != 0 }
func (f *File) HasSetID() bool { return f.Stat.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 }

// Credentials is what execve(2) takes from the program, for the execve rule of
// package ambient; known are the capabilities of this kernel. The error is an
// *Error: the file's capabilities make no sense to the kernel (ErrBadCaps),
// are kept from caplaunch by a filter (ErrHiddenCaps), or belong to the root of a
// namespace which may or may not be an ancestor (ErrForeignCaps: the kernel tells only
// about its own).
//
// Set-gid counts only with x for the group. The kernel passes over the privilege of a
// file on a mount of another user namespace, and a set-id bit whose owner is not
// mapped. Here both count: that refuses too much, never too little.
func (p *Program) Credentials(known ambient.Set) (c ambient.File, err error) {
	f := p.Last()
	if f.nosuid {
		return c, nil
	}
	caps, capsErr := VFSCaps{}, error(nil)
	if f.caps != nil {
		caps, capsErr = ParseFileCaps(f.caps)
	}
	switch foreign := caps.RootID != 0 || f.capsErr == unix.EOVERFLOW; {
	case foreign && !linux.MapsAll("/proc/self/uid_map"): // in a namespace that is perhaps below that one
		return c, &Error{Path: f.Path, Err: ErrForeignCaps}
	case foreign: // the kernel passes over those of another namespace's root
	case f.capsErr == errHidden:
		return c, &Error{Path: f.Path, Err: ErrHiddenCaps}
	case f.capsErr != 0 || capsErr != nil:
		return c, &Error{Path: f.Path, Err: ErrBadCaps}
	case f.caps != nil:
		c.Caps = &ambient.FileCaps{Permitted: caps.Permitted & known, Inheritable: caps.Inheritable & known, Effective: caps.Effective}
	}
	if f.Stat.Mode&unix.S_ISUID != 0 {
		c.SetUID = &f.Stat.Uid
	}
	if bits := uint32(unix.S_ISGID | unix.S_IXGRP); f.Stat.Mode&bits == bits {
		c.SetGID = &f.Stat.Gid
	}
	return c, nil
}

// VFSCaps is a security.capability attribute, capabilities(7) "File capability
// extended attribute versioning". Revisions 1 and 2 belong to the root of the
// initial user namespace, revision 3 to the namespace whose root is RootID.
type VFSCaps struct {
	Permitted, Inheritable ambient.Set
	Effective              bool
	RootID                 uint32
}

// errMalformedCaps is an attribute for which execve(2) fails with EINVAL.
var errMalformedCaps = errors.New("malformed security.capability")

// ParseFileCaps reads a security.capability attribute with the checks of
// get_vfs_caps_from_disk in security/commoncap.c: the revision decides the size.
func ParseFileCaps(b []byte) (c VFSCaps, err error) {
	word := func(i int) uint32 {
		return uint32(b[4*i]) | uint32(b[4*i+1])<<8 | uint32(b[4*i+2])<<16 | uint32(b[4*i+3])<<24
	}
	if len(b) < 4 || len(b) != map[uint32]int{1: 12, 2: 20, 3: 24}[word(0)>>24] {
		return c, errMalformedCaps
	}
	c.Effective = word(0)&1 != 0
	c.Permitted, c.Inheritable = ambient.Set(word(1)), ambient.Set(word(2))
	if len(b) > 12 {
		c.Permitted |= ambient.Set(word(3)) << 32
		c.Inheritable |= ambient.Set(word(4)) << 32
	}
	if len(b) > 20 {
		c.RootID = word(5)
	}
	return c, nil
}
