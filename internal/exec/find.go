//go:build linux

package exec

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

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

// A Viewer is the user who will run the program: before the switch, what it may
// do is predicted from modes and POSIX ACLs, path_resolution(7), acl(5). Where a
// server decides instead (NFS, FUSE) a denial is not believed, but Unseen. Not
// predicted, and so found out only by the exec: fs.protected_symlinks, security
// modules, and capabilities over files of an owner that is not mapped.
//
// A nil *Viewer is this process as it is now: the kernel is asked.
type Viewer struct {
	UID, GID uint32
	Groups   ambient.Groups
	Caps     ambient.Set // effective, of which dac_override and dac_read_search count
}

const (
	capDACOverride   ambient.Cap = 1
	capDACReadSearch ambient.Cap = 2
)

func (v *Viewer) uid() uint32 {
	if v == nil {
		return uint32(unix.Geteuid())
	}
	return v.UID
}

// Find looks for the program as execvp(3) does, but for its fallback to
// /bin/sh, and inspects it: a name with a slash is a path; else each element of
// path is tried, an empty one being the current directory. A candidate that
// does not exist, or whose interpreter does not, or that v may not execute, is
// passed over, and is the error only when there is no other.
//
// The error is an *Error. With the Reason Unseen, nothing can be said yet: Find
// has to be called again, with a nil Viewer, after the switch.
func Find(name, path string, v *Viewer, host ambient.Host) (Program, error) {
	if strings.Contains(name, "/") {
		return Inspect(name, v, host)
	}
	best := &Error{Reason: NotInPath, Path: name, Errno: unix.ENOENT}
	if name == "" {
		return Program{}, best
	}
	for dir := range strings.SplitSeq(path, ":") {
		candidate := name
		if len(dir) >= unix.PathMax {
			continue
		}
		if dir != "" {
			candidate = dir + "/" + name
		}
		p, err := Inspect(candidate, v, host)
		var e *Error
		if !errors.As(err, &e) || e.Reason == Unseen {
			return p, err
		}
		switch e.Errno {
		case unix.EACCES:
			if best.Errno != unix.EACCES {
				best = e
			}
		case unix.ENOENT:
			if best.Reason == NotInPath && e.Reason != NotFound {
				best = e
			}
		case unix.ENOTDIR, unix.ESTALE, unix.ENODEV, unix.ETIMEDOUT:
		default:
			return p, err
		}
	}
	return Program{}, best
}

// maxLinks is MAXSYMLINKS of the kernel, path_resolution(7).
const maxLinks = 40

// resolve walks path as path_resolution(7) describes, checks that v may search
// each directory on the way, and returns the file's own path, free of symlinks,
// and its stat. It does not look at the file's own permissions. The error is an
// *Error.
func resolve(path string, v *Viewer) (string, unix.Stat_t, error) {
	var st unix.Stat_t
	fail := func(r Reason, culprit string, errno unix.Errno) (string, unix.Stat_t, error) {
		if r == NotSearchable && v != nil && is(culprit, served...) {
			r = Unseen
		}
		return "", st, &Error{Reason: r, Path: path, Culprit: culprit, Errno: errno, UID: v.uid()}
	}
	if len(path) >= unix.PathMax {
		return fail(NotReached, "", unix.ENAMETOOLONG)
	}
	at, rest := start(".", path)
	if err := unix.Stat(at, &st); err != nil {
		return fail(NotReached, at, err.(unix.Errno))
	}
	for links := 0; len(rest) > 0; {
		if st.Mode&unix.S_IFMT == unix.S_IFDIR && !v.may(at, &st, unix.X_OK) {
			return fail(NotSearchable, at, unix.EACCES)
		}
		next := strings.TrimSuffix(at, "/") + "/" + rest[0]
		rest = rest[1:]
		switch err := unix.Lstat(next, &st); {
		case err == unix.EACCES && v != nil:
			return fail(Unseen, at, unix.EACCES)
		case err == unix.EACCES:
			return fail(NotSearchable, at, unix.EACCES)
		case err == unix.ENOENT:
			return fail(NotFound, "", unix.ENOENT)
		case err != nil:
			return fail(NotReached, at, err.(unix.Errno))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return fail(NotReached, "", unix.ELOOP)
		}
		if is(at, unix.PROC_SUPER_MAGIC) {
			// What a link such as /proc/self/exe says is not where it leads.
			if err := unix.Stat(next, &st); err != nil {
				return fail(NotReached, next, err.(unix.Errno))
			}
			at = next
			continue
		}
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlink(next, target)
		if err != nil {
			return fail(NotReached, next, err.(unix.Errno))
		}
		var more []string
		at, more = start(at, string(target[:n]))
		rest = append(more, rest...)
		if err := unix.Stat(at, &st); err != nil {
			return fail(NotReached, at, err.(unix.Errno))
		}
	}
	return at, st, nil
}

// start is where the walk along path begins, coming from the directory at, and
// the components to walk. A trailing slash demands a directory, as "." does.
func start(at, path string) (string, []string) {
	if strings.HasPrefix(path, "/") {
		at = "/"
	}
	parts := slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" })
	if strings.HasSuffix(path, "/") {
		parts = append(parts, ".")
	}
	return at, parts
}

// served are the file systems on which modes need not say what is allowed.
var served = []uint32{unix.PROC_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.V9FS_MAGIC,
	unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.AFS_SUPER_MAGIC}

// is reports whether path is on a file system of one of the types, statfs(2).
func is(path string, types ...uint32) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && slices.Contains(types, uint32(fs.Type))
}

// may reports whether v has the access want (unix.R_OK, unix.X_OK) to the file
// at path with the stat st, as acl_permission_check and generic_permission in
// fs/namei.c decide it.
func (v *Viewer) may(path string, st *unix.Stat_t, want uint32) bool {
	if v == nil {
		return unix.Faccessat(unix.AT_FDCWD, path, want, unix.AT_EACCESS) == nil
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case dir && (v.Caps.Has(capDACOverride) || v.Caps.Has(capDACReadSearch)):
		return true
	case want == unix.R_OK && (v.Caps.Has(capDACOverride) || v.Caps.Has(capDACReadSearch)):
		return true
	case v.Caps.Has(capDACOverride) && st.Mode&0o111 != 0:
		return true
	case v.UID == st.Uid:
		return st.Mode>>6&want == want
	}
	if st.Mode&0o070 != 0 { // as in the kernel: with an empty mask the list is not looked at
		acl := make([]byte, 4+8*512)
		if n, err := unix.Getxattr(path, "system.posix_acl_access", acl); err == nil {
			return v.mayByACL(acl[:n], st.Gid, want)
		}
	}
	if v.in(st.Gid) {
		return st.Mode>>3&want == want
	}
	return st.Mode&want == want
}

// in reports whether v is in the group, as in_group_p does.
func (v *Viewer) in(gid uint32) bool { return v.GID == gid || v.Groups.Has(gid) }

// mayByACL decides for who is not the owner as posix_acl_permission in
// fs/posix_acl.c does: by the entry of the user, else by the entries of his
// groups, both cut by the mask, else by the one for others. The attribute is a
// version and entries of tag, permissions and id; what does not fit is no
// permission.
func (v *Viewer) mayByACL(acl []byte, group, want uint32) bool {
	const user, groupObj, groupID, mask, other = 0x02, 0x04, 0x08, 0x10, 0x20
	var isUser, byUser, isGroup, byGroup, byOther bool
	limit := uint32(0o7)
	for i := 4; i+8 <= len(acl); i += 8 {
		perm := uint32(binary.LittleEndian.Uint16(acl[i+2:]))
		id := binary.LittleEndian.Uint32(acl[i+4:])
		switch tag := binary.LittleEndian.Uint16(acl[i:]); {
		case tag == user && id == v.UID:
			isUser, byUser = true, perm&want == want
		case tag == groupObj && v.in(group), tag == groupID && v.in(id):
			isGroup = true
			byGroup = byGroup || perm&want == want
		case tag == mask:
			limit = perm
		case tag == other:
			byOther = perm&want == want
		}
	}
	if isUser || isGroup {
		return (byUser || !isUser && byGroup) && limit&want == want
	}
	return byOther
}
