package identity

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

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
	StartGroups ambient.Groups  // memberships of the starting user, where KeepGroups asks for them
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

// A Lookup says why a name could not be found.
type Lookup uint8

// The ways to fail.
const (
	NotFound   Lookup = iota // no line in the file
	NoFile                   // there is no file
	Unreadable               // the file cannot be read
	Malformed                // the line is there, and garbage
	NoGroup                  // a number without a line and without a group
)

func (e *LookupError) Error() string {
	what := "user"
	if e.Group {
		what = "group"
	}
	name := shown(e.Name.Text)
	switch e.Why {
	case NoFile:
		return fmt.Sprintf("%s %s cannot be looked up: there is no %s", what, name, e.Path)
	case Unreadable:
		return fmt.Sprintf("%s %s cannot be looked up in %s: %v", what, name, e.Path, e.Err)
	case Malformed:
		return fmt.Sprintf("the line of %s about %s %s is malformed", e.Path, what, name)
	case NoGroup:
		return fmt.Sprintf("uid %s has no entry in %s, so its group is not known", e.Name.Text, e.Path)
	}
	return fmt.Sprintf("there is no %s %s in %s, and only that file is read", what, name, e.Path)
}

func (e *LookupError) Unwrap() error { return e.Err }

// Look answers a wish, for a process that was started as the user start. A file
// is read only where a name, or an entry that is needed, makes it necessary; what
// is wrong with an entry that is only nice to have is no error. The error is a
// *LookupError, and the answer has what was found until then.
func (f Files) Look(w Wish, start uint32) (a Answer, err error) {
	self := Name{Text: strconv.FormatUint(uint64(start), 10), ID: start, Numeric: true}
	var selfErr error
	if w.Entries || w.KeepGroups {
		a.Start, selfErr = f.entry(self)
	}
	if w.User != nil {
		if a.New, err = f.entryOf(*w.User, w.Entries); err != nil {
			return a, err
		}
		u := ambient.User{UID: a.New.UID, GID: a.New.GID}
		var more []uint32
		if w.User.Group != nil {
			u.GID, err = f.groupID(*w.User.Group)
		} else if w.Groups == nil {
			more, err = f.memberships(w.User.User, a.New.Name)
		}
		u.Groups = ambient.NewGroups(append(more, u.GID)...)
		if a.User = &u; err != nil {
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
		name := a.Start.Name
		if name == "" && start == 0 {
			name = "root"
		}
		ids, groupErr := f.memberships(self, name)
		a.StartGroups = ambient.NewGroups(ids...)
		// Of root's own groups none may slip through.
		if start == 0 && groupErr != nil {
			return a, groupErr
		} else if e := (*LookupError)(nil); start == 0 && errors.As(selfErr, &e) && (e.Why == Unreadable || e.Why == Malformed) {
			return a, selfErr
		}
	}
	return a, nil
}

// entryOf is the entry of the user that was named, whose ids are those of the
// spec. It has to exist where the user is a name, or has no group.
func (f Files) entryOf(s Spec, wanted bool) (Entry, error) {
	needed := !s.User.Numeric || s.Group == nil
	var found Entry
	var err error
	if needed || wanted {
		found, err = f.entry(s.User)
	}
	if err != nil && needed {
		return found, err
	}
	if s.User.Numeric {
		found.UID = s.User.ID
	}
	return found, nil
}

// entry is the first line of passwd with the name, or the number.
func (f Files) entry(n Name) (Entry, error) {
	var found Entry
	e := &LookupError{Name: n, Path: f.Passwd}
	seen, proper := false, false
	err := scan(f.Passwd, n.needle(), func(line []byte) bool {
		if seen = n.isAbout(line); !seen {
			return true
		}
		parts := strings.Split(string(line), ":")
		if len(parts) < 4 || parts[0] == "" || bytes.IndexByte(line, 0) >= 0 {
			return false
		}
		var okUID, okGID bool
		if found.Name = parts[0]; len(parts) > 5 {
			found.Home = parts[5]
		}
		found.UID, okUID = plainID(parts[2])
		found.GID, okGID = plainID(parts[3])
		proper = okUID && okGID
		return false
	})
	switch {
	case proper:
		return found, nil
	case seen:
		e.Why = Malformed
	case err == nil && n.Numeric:
		e.Why = NoGroup
	case err != nil:
		e.Why, e.Err = whyNot(err), err
		if e.Why == NoFile && n.Numeric {
			e.Why = NoGroup
		}
	}
	return Entry{}, e
}

// groupID is the id of a group: of the first line of group with the name.
func (f Files) groupID(n Name) (uint32, error) {
	if n.Numeric {
		return n.ID, nil
	}
	ids, err := f.groupIDs(n, n.needle(), true, n.isAbout)
	if err == nil && len(ids) == 0 {
		err = &LookupError{Name: n, Group: true, Path: f.Group}
	}
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// memberships are the groups that list the user n, called name, as a member,
// initgroups(3). No file, and no name, means none.
func (f Files) memberships(n Name, name string) ([]uint32, error) {
	if name == "" {
		return nil, nil
	}
	ids, err := f.groupIDs(n, name, false, func(line []byte) bool {
		parts := bytes.SplitN(line, []byte(":"), 4)
		if len(parts) < 4 || !counts(line) {
			return false
		}
		for m := range bytes.SplitSeq(parts[3], []byte(",")) {
			if string(m) == name {
				return true
			}
		}
		return false
	})
	if e := (*LookupError)(nil); errors.As(err, &e) && e.Why == NoFile {
		return nil, nil
	}
	return ids, err
}

// groupIDs are the ids of the lines of group that match, of the first or of all.
// Each of these lines has to have a proper one.
func (f Files) groupIDs(n Name, needle string, first bool, match func([]byte) bool) (ids []uint32, err error) {
	malformed := false
	err = scan(f.Group, needle, func(line []byte) bool {
		if !match(line) {
			return true
		}
		parts := bytes.SplitN(line, []byte(":"), 4)
		id, ok := uint32(0), false
		if len(parts) > 2 {
			id, ok = plainID(string(parts[2]))
		}
		malformed = !ok
		ids = append(ids, id)
		return ok && !first && len(ids) <= ambient.MaxGroups
	})
	switch {
	case malformed:
		return nil, &LookupError{Name: n, Group: first, Path: f.Group, Why: Malformed}
	case err != nil:
		return nil, &LookupError{Name: n, Group: first, Path: f.Group, Why: whyNot(err), Err: err}
	}
	return ids, nil
}

// whyNot is the Lookup for an error of reading a file.
func whyNot(err error) Lookup {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR) {
		return NoFile
	}
	return Unreadable
}

// needle stands in every line that is about n.
func (n Name) needle() string {
	if n.Numeric {
		return ":" + n.Text + ":"
	}
	return n.Text + ":"
}

// isAbout reports whether a line of passwd or group is about n: by the name, or
// by the number in the third field.
func (n Name) isAbout(line []byte) bool {
	name, rest, ok := bytes.Cut(line, []byte(":"))
	if !ok || !counts(line) {
		return false
	}
	if !n.Numeric {
		return string(name) == n.Text
	}
	_, rest, _ = bytes.Cut(rest, []byte(":"))
	id, _, _ := bytes.Cut(rest, []byte(":"))
	return string(id) == n.Text
}

// counts reports whether a line is about somebody: a comment is not, nor what
// begins with "+" or "-", with which NIS is asked.
func counts(line []byte) bool { return line[0] != '#' && line[0] != '+' && line[0] != '-' }

// plainID reads a decimal id up to MaxID.
func plainID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil && strings.Trim(s, "0123456789") == "" && len(s) <= 10
}

// scan calls each for the lines of a file, without white space around them, until
// it returns false. It may leave out lines that do not contain the needle: large
// files are passed over in blocks. A file that ends before its size is an error:
// its last line may be cut off, in the middle of a number.
func scan(path, needle string, each func(line []byte) bool) error {
	// The runtime's poller is kept out: it takes two more descriptors. Nothing
	// waits for whoever writes a FIFO, nor for a terminal.
	fd, err := retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	})
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return errors.New("it is not a regular file")
	}
	const longest = 1 << 20 // bounds the memory that one line can take
	buf, filled, total := make([]byte, 64<<10), 0, int64(0)
	for {
		n, err := retry(func() (int, error) { return syscall.Read(fd, buf[filled:]) })
		if err != nil {
			return err
		} else if n < 0 || n > len(buf)-filled {
			return errors.New("read(2) gave an impossible answer")
		}
		filled, total = filled+n, total+int64(n)
		whole := bytes.LastIndexByte(buf[:filled], '\n') + 1
		if n == 0 {
			if st.Size > 0 && total != st.Size {
				return fmt.Errorf("it has %d bytes, and %d were read", st.Size, total)
			}
			whole = filled
		}
		if block := buf[:whole]; bytes.Contains(block, []byte(needle)) {
			for line := range bytes.Lines(block) {
				if line = bytes.TrimSpace(line); len(line) > 0 && !each(line) {
					return nil
				}
			}
		}
		if n == 0 {
			return nil
		}
		filled = copy(buf, buf[whole:filled])
		if filled == len(buf) {
			if filled >= longest {
				return errors.New("a line is longer than 1 MiB")
			}
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// retry calls do again while a signal interrupts it.
func retry(do func() (int, error)) (n int, err error) {
	for {
		if n, err = do(); err != syscall.EINTR {
			return n, err
		}
	}
}
