package identity

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// Files are the paths of passwd(5) and group(5).
type Files struct{ Passwd, Group string }

// Etc is where they are.
var Etc = Files{Passwd: "/etc/passwd", Group: "/etc/group"}

// An Entry is a line of passwd(5). The zero Entry stands for a user without one.
type Entry struct {
	Name, Home string
	UID, GID   uint32
}

// A Wish is what the command line says of who the program runs as.
type Wish struct {
	User       *Spec
	Groups     []Name // in the place of the user's; nil: none were named
	KeepGroups bool   // the groups received are kept, but for those of the starting user
	Entries    bool   // the entries matter even where ids are written as numbers, for HOME
}

// An Answer is what the files make of a Wish.
type Answer struct {
	User        *ambient.User   // nil where nobody was named
	Groups      *ambient.Groups // nil where none were named
	Memberships ambient.Groups  // memberships of the starting user, where KeepGroups asks for them
	New, Start  Entry           // of the user and of the starting user
}

// A LookupError is a name or number that a file does not explain.
type LookupError struct {
	Name  Name
	Group bool   // it is a group
	Path  string // the file
	Why   Lookup
	Err   error // of reading the file
}

// A Lookup says why a name, WHO, could not be found in FILE.
type Lookup string

// The ways to fail.
const (
	NotFound   Lookup = "there is no WHO in FILE, and only that file is read"
	NoFile     Lookup = "WHO cannot be looked up: there is no FILE"
	Unreadable Lookup = "WHO cannot be looked up in FILE"
	Malformed  Lookup = "the line of FILE about WHO is malformed"
	NoGroup    Lookup = "WHO has no entry in FILE, so its group is not known"
)

func (e *LookupError) Error() string {
	what := "user"
	if e.Group {
		what = "group"
	} else if e.Name.Numeric {
		what = "uid"
	}
	who := what + " " + e.Name.String()
	text := strings.NewReplacer("WHO", who, "FILE", e.Path).Replace(string(e.Why))
	if e.Why == Unreadable {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *LookupError) Unwrap() error { return e.Err }

// Look answers a wish, for a process that was started as the user start. A file
// is read only where a name, or an entry that is needed, makes it necessary; what
// is wrong with an entry that is only nice to have is no error. The error is a
// *LookupError, and the answer has what was found until then.
func (f Files) Look(w Wish, start uint32) (a Answer, err error) {
	self := Name{Text: strconv.FormatUint(uint64(start), 10), Numeric: true}
	var selfErr error
	if w.Entries || w.KeepGroups {
		a.Start, selfErr = f.entry(self)
	}
	if s := w.User; s != nil {
		needed := !s.User.Numeric || s.Group == nil
		if needed || w.Entries {
			var entryErr error
			if a.New, entryErr = f.entry(s.User); entryErr != nil && needed {
				return a, entryErr
			}
		}
		u := &ambient.User{UID: a.New.UID, GID: a.New.GID}
		if s.User.Numeric {
			u.UID = s.User.ID
		}
		var more []uint32
		if s.Group != nil {
			u.GID, err = f.groupID(*s.Group)
		} else if w.Groups == nil {
			more, err = f.memberships(s.User, a.New.Name)
		}
		u.Groups = ambient.NewGroups(append(more, u.GID)...)
		if a.User = u; err != nil {
			return a, err
		}
	}
	if w.Groups != nil {
		ids := make([]uint32, len(w.Groups))
		for i, n := range w.Groups {
			if ids[i], err = f.groupID(n); err != nil {
				return a, err
			}
		}
		groups := ambient.NewGroups(ids...)
		a.Groups = &groups
	}
	if w.KeepGroups {
		// None of root's own groups may slip through, so root needs the answer. Another
		// user may be unable to read the passwd that Podman makes.
		if e := (*LookupError)(nil); errors.As(selfErr, &e) && e.Why != NoGroup && start == 0 {
			return a, e
		}
		for _, path := range []string{f.Passwd, f.Group} {
			if start == 0 && leadsAway(path) {
				return a, &LookupError{Name: self, Path: path, Why: Unreadable, Err: errors.New("a symlink leads to another mount")}
			}
		}
		var ids []uint32
		ids, err = f.unkept(self)
		a.Memberships = ambient.NewGroups(ids...)
	}
	return a, err
}

// entry is the first line of passwd about n, by its name or number.
func (f Files) entry(n Name) (found Entry, err error) {
	e := &LookupError{Name: n, Path: f.Passwd}
	err = e.search(n.Text, n.isAbout, true, func(p []string) bool {
		uid, okUID := plainID(p[2])
		gid, okGID := plainID(p[3])
		found = Entry{Name: p[0], Home: p[5], UID: uid, GID: gid}
		return okUID && okGID && p[0] != ""
	})
	if err == nil {
		return found, nil
	}
	if n.Numeric && (e.Why == NotFound || e.Why == NoFile) {
		e.Why = NoGroup
	}
	return Entry{}, err
}

// unkept are the groups that a runtime may have given to the starting user n by these
// files. A uid can have several names, and runtimes read less strictly than the rest of
// this file: comments, blanks in front of a member and what is no number count too.
// Where n is root, so does the gid of its entry, and a file that cannot be read is an
// error.
func (f Files) unkept(n Name) (ids []uint32, err error) {
	root, has, names := n.Text == "0", n.Text, map[string]bool{}
	if root {
		names["root"], has = true, ""
	}
	err = scan(f.Passwd, has, func(line []byte) bool {
		p := fields(line)
		id, _ := strconv.Atoi(p[2]) // 0 for what is no number
		if isRoots := root && id == 0; !isRoots && !n.isAbout(line) {
			return true
		}
		names[p[0]], names[strings.TrimLeft(p[0], "#+-")] = true, true
		if gid, _ := strconv.Atoi(p[3]); root {
			ids = append(ids, uint32(gid))
		}
		return true
	})
	if err != nil && root && !isAbsent(err) {
		return ids, &LookupError{Name: n, Path: f.Passwd, Why: Unreadable, Err: err}
	}
	delete(names, "")
	e := &LookupError{Name: n, Path: f.Group}
	e.Err = scan(f.Group, "", func(line []byte) bool {
		p := fields(line)
		members, _, _ := strings.Cut(p[3], "\x00")
		for m := range strings.SplitSeq(members, ",") {
			if !names[strings.TrimLeft(m, " \t\v\f\r")] {
				continue
			}
			gid, gidErr := strconv.Atoi(p[2])
			if ids = append(ids, uint32(gid)); gidErr != nil {
				e.Why = Malformed
			}
			break
		}
		return true
	})
	if e.Err != nil && !isAbsent(e.Err) {
		e.Why = Unreadable
	}
	if e.Why != "" {
		return ids, e
	}
	return ids, nil
}

// leadsAway reports whether a symlink of the image leads path to another mount. The
// runtime has read the file that is below. Before Linux 5.6 the answer is no.
func leadsAway(path string) bool {
	open := func(resolve uint64) error {
		fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
		_ = unix.Close(fd)
		return err
	}
	return open(unix.RESOLVE_NO_SYMLINKS) == unix.ELOOP && open(unix.RESOLVE_NO_XDEV) == unix.EXDEV
}

func isAbsent(err error) bool {
	return errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR)
}

// groupID is the id of a group: of the first line of group with the name.
func (f Files) groupID(n Name) (uint32, error) {
	if n.Numeric {
		return n.ID, nil
	}
	ids, err := (&LookupError{Name: n, Group: true, Path: f.Group}).gids(n.Text, n.isAbout)
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// memberships are the groups that list the user n, called name, as a member,
// initgroups(3). No file means none.
func (f Files) memberships(n Name, name string) ([]uint32, error) {
	e := &LookupError{Name: n, Path: f.Group}
	ids, err := e.gids(name, func(line []byte) bool {
		return bytes.Contains(line, []byte(name)) && slices.Contains(strings.Split(fields(line)[3], ","), name)
	})
	if e.Why == NotFound || e.Why == NoFile {
		err = nil
	}
	return ids, err
}

// gids are the ids of the lines of group that match: of the first where e is about
// a group, else of all.
func (e *LookupError) gids(has string, match func([]byte) bool) (ids []uint32, err error) {
	err = e.search(has, match, e.Group, func(p []string) bool {
		id, ok := plainID(p[2])
		ids = append(ids, id)
		return ok
	})
	return ids, err
}

// search hands the fields of the lines that match, or only of the first, to use,
// which reports whether they are proper. Every line that matches has the text has.
func (e *LookupError) search(has string, match func([]byte) bool, first bool, use func([]string) bool) error {
	e.Why = NotFound
	e.Err = scan(e.Path, has, func(line []byte) bool {
		// A comment is about nobody, nor is what begins with "+" or "-", with which
		// NIS is asked.
		if !match(line) || strings.IndexByte("#+-", line[0]) >= 0 {
			return true
		}
		if e.Why = ""; !use(fields(line)) || bytes.IndexByte(line, 0) >= 0 {
			e.Why = Malformed
		}
		return e.Why == "" && !first
	})
	switch {
	case isAbsent(e.Err):
		e.Why = NoFile
	case e.Err != nil:
		e.Why = Unreadable
	case e.Why == "":
		return nil
	}
	return e
}

// fields are the fields of a line; those that are missing are empty.
func fields(line []byte) []string {
	return append(strings.Split(string(bytes.TrimSpace(line)), ":"), make([]string, 6)...)
}

// isAbout reports whether a line is about n: by the name, or by the number in the
// third field.
func (n Name) isAbout(line []byte) bool {
	if n.Numeric {
		_, line, _ = bytes.Cut(line, []byte(":"))
		_, line, _ = bytes.Cut(line, []byte(":"))
	}
	rest, ok := bytes.CutPrefix(line, []byte(n.Text))
	return ok && len(rest) > 0 && rest[0] == ':'
}

// plainID reads a decimal id up to MaxID.
func plainID(s string) (uint32, bool) {
	n, _ := strconv.ParseUint(s, 10, 31)
	return uint32(n), strconv.FormatUint(n, 10) == s
}

// scan calls each for the lines of a file until it returns false, and may leave out
// lines without the text has.
func scan(path, has string, each func(line []byte) bool) error {
	// The runtime's poller is kept out: it takes two more descriptors. Nothing
	// waits for whoever writes a FIFO, nor for a terminal.
	const flags = syscall.O_RDONLY | syscall.O_CLOEXEC | syscall.O_NONBLOCK | syscall.O_NOCTTY
	fd, err := -1, error(syscall.EINTR)
	for err == syscall.EINTR { // as file systems in user space answer
		fd, err = syscall.Open(path, flags, 0)
	}
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t // zero where it is not told
	_ = syscall.Fstat(fd, &st)
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return errors.New("it is not a regular file")
	}
	return scanLines(func(b []byte) (int, error) { return syscall.Read(fd, b) }, st.Size, []byte(has), each)
}

// scanLines is scan for a file of that size, 0 where it is not known. One that
// ends before is an error: its last line may be cut off, in the middle of a number.
func scanLines(read func([]byte) (int, error), size int64, has []byte, each func(line []byte) bool) error {
	const longest = 1 << 20 // of a line, or a little more
	buf, total := make([]byte, 0, min(max(size+1, 512), 64<<10)), int64(0)
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= longest {
				return errors.New("a line is longer than 1 MiB")
			}
			buf = slices.Grow(buf, len(buf))
		}
		n, err := read(buf[len(buf):cap(buf)])
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return err
		case n < 0 || n > cap(buf)-len(buf):
			return errors.New("read(2) gave an impossible answer")
		case n == 0 && size > 0 && total != size:
			return fmt.Errorf("it has %d bytes, and %d were read", size, total)
		}
		buf, total = buf[:len(buf)+n], total+int64(n)
		whole := bytes.LastIndexByte(buf, '\n') + 1
		if n == 0 {
			whole = len(buf)
		}
		if bytes.Contains(buf[:whole], has) { // most of a large file needs no closer look
			for line := range bytes.Lines(buf[:whole]) {
				if !each(line) {
					return nil
				}
			}
		}
		if n == 0 {
			return nil
		}
		buf = buf[:copy(buf, buf[whole:])]
	}
}
