package identity

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/user"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// Files are the paths of passwd(5) and group(5).
type Files struct{ Passwd, Group string }

// Etc is where they are.
var Etc = Files{Passwd: "/etc/passwd", Group: "/etc/group"}

// An Entry is what passwd(5) says of a user besides the ids. The zero Entry is
// a user without a line there.
type Entry struct{ Name, Home string }

// A LookupError is a name or id that a file does not explain.
type LookupError struct {
	Name  Name
	Group bool   // it is a group
	Path  string // the file
	Why   Lookup
	Line  int   // of a malformed entry
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
	TooManyOf                // a member of more groups than the kernel takes
)

func (e *LookupError) Error() string {
	what := "user"
	if e.Group {
		what = "group"
	}
	switch e.Why {
	case NoFile:
		return fmt.Sprintf("%s %s cannot be looked up: there is no %s", what, shown(e.Name.Text), e.Path)
	case Unreadable:
		return fmt.Sprintf("%s %s cannot be looked up: %v", what, shown(e.Name.Text), e.Err)
	case Malformed:
		return fmt.Sprintf("%s %s: line %d of %s is malformed", what, shown(e.Name.Text), e.Line, e.Path)
	case NoGroup:
		return fmt.Sprintf("uid %s has no entry in %s, so its group is not known", e.Name.Text, e.Path)
	case TooManyOf:
		return fmt.Sprintf("user %s is in more groups of %s than the kernel takes (%d)", shown(e.Name.Text), e.Path, ambient.MaxGroups)
	}
	return fmt.Sprintf("there is no %s %s in %s", what, shown(e.Name.Text), e.Path)
}

func (e *LookupError) Unwrap() error { return e.Err }

// ExitStatus is 125.
func (*LookupError) ExitStatus() int { return ambient.ExitFailure }

// Resolve turns the spec into ids. A user without a group brings its primary
// group and its memberships; "user:group" brings that group and no memberships.
// Two numbers need no file: the entry is looked up all the same, for HOME, unless
// plain is set, but one that cannot be had is no error. Podman makes a passwd that
// its own user cannot read. With alone, the memberships do not matter, because other
// groups take their place. The error is a *LookupError.
func (f Files) Resolve(s Spec, plain, alone bool) (u ambient.User, entry Entry, err error) {
	u.UID = s.User.ID
	needed := !s.User.Numeric || s.Group == nil
	if needed || !plain {
		found, err := f.findUser(s.User)
		if err != nil && needed {
			return u, entry, err
		} else if err == nil {
			u.UID, u.GID = uint32(found.Uid), uint32(found.Gid)
			entry = Entry{Name: found.Name, Home: found.Home}
		}
	}
	var others []uint32
	if s.Group != nil {
		u.GID, err = f.groupID(*s.Group)
	} else if !alone {
		others, err = f.memberships(s.User, entry.Name)
	}
	u.Groups = ambient.NewGroups(append(others, u.GID)...)
	return u, entry, err
}

// Groups turns names into a list of ids. The error is a *LookupError.
func (f Files) Groups(names []Name) (ambient.Groups, error) {
	ids := make([]uint32, 0, len(names))
	for _, n := range names {
		id, err := f.groupID(n)
		if err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	return ambient.NewGroups(ids...), nil
}

// findUser is the first line of passwd with the name, or the id.
func (f Files) findUser(n Name) (user.User, error) {
	var line []byte
	at, err := scan(f.Passwd, func(l []byte) bool {
		if n.matches(l) {
			line = bytes.Clone(l)
		}
		return line == nil
	})
	e := &LookupError{Name: n, Path: f.Passwd, Why: whyNot(err), Line: at, Err: err}
	if line == nil {
		if n.Numeric && (e.Why == NotFound || e.Why == NoFile) {
			e.Why = NoGroup
		}
		return user.User{}, e
	}
	// The library reads an id that is no number as 0, and cuts large ones.
	parts := bytes.Split(line, []byte(":"))
	if len(parts) >= 4 && len(parts[0]) > 0 && plainID(parts[2]) && plainID(parts[3]) && !bytes.Contains(line, []byte{0}) {
		if users, err := user.ParsePasswd(bytes.NewReader(line)); err == nil && len(users) == 1 {
			return users[0], nil
		}
	}
	e.Why = Malformed
	return user.User{}, e
}

// groupID is the id of a group.
func (f Files) groupID(n Name) (uint32, error) {
	if n.Numeric {
		return n.ID, nil
	}
	ids, err := f.groupIDs(n, true, n.matches)
	if err == nil && len(ids) == 0 {
		err = &LookupError{Name: n, Group: true, Path: f.Group}
	}
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// memberships are the groups that list name as a member, initgroups(3). No file
// means none.
func (f Files) memberships(n Name, name string) ([]uint32, error) {
	ids, err := f.groupIDs(n, false, func(line []byte) bool {
		parts := bytes.SplitN(line, []byte(":"), 4)
		if len(parts) < 4 {
			return false
		}
		for m := range bytes.SplitSeq(parts[3], []byte(",")) {
			if string(m) == name {
				return true
			}
		}
		return false
	})
	var e *LookupError
	if errors.As(err, &e) && e.Why == NoFile {
		return nil, nil
	}
	return ids, err
}

// groupIDs are the ids of the lines of group that match, of the first or of all.
// They have to have a proper one.
func (f Files) groupIDs(n Name, first bool, match func([]byte) bool) ([]uint32, error) {
	var picked bytes.Buffer
	count, malformed := 0, false
	at, err := scan(f.Group, func(l []byte) bool {
		if !counts(l) || !match(l) {
			return true
		}
		parts := bytes.SplitN(l, []byte(":"), 4)
		if malformed = len(parts) < 3 || !plainID(parts[2]); malformed {
			return false
		}
		// Who the members are is known by now; the line may be long.
		picked.Write(bytes.Join(parts[:3], []byte(":")))
		picked.WriteString(":\n")
		count++
		return !first && count <= ambient.MaxGroups
	})
	e := &LookupError{Name: n, Group: first, Path: f.Group, Why: whyNot(err), Line: at, Err: err}
	switch {
	case malformed:
		e.Why = Malformed
		return nil, e
	case count > ambient.MaxGroups:
		e.Why = TooManyOf
		return nil, e
	case err != nil:
		return nil, e
	}
	groups, err := user.ParseGroup(&picked)
	if err != nil {
		e.Why, e.Err = Malformed, err
		return nil, e
	}
	var ids []uint32
	for _, g := range groups {
		ids = append(ids, uint32(g.Gid))
	}
	return ids, nil
}

// whyNot is the Lookup for an error of reading a file, NotFound for none.
func whyNot(err error) Lookup {
	switch {
	case err == nil:
		return NotFound
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return NoFile
	}
	return Unreadable
}

// matches reports whether a line of passwd or group is about n: by the name, or
// by the number in the third field.
func (n Name) matches(line []byte) bool {
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

// plainID reports whether a field is a decimal id up to MaxID.
func plainID(b []byte) bool {
	if len(b) == 0 || len(b) > 10 || strings.Trim(string(b), "0123456789") != "" {
		return false
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	return err == nil && n <= MaxID
}

// maxLine bounds the memory that one line of a file can take.
const maxLine = 1 << 20

var errTooLong = errors.New("a line is longer than 1 MiB")

// scan calls each for the lines of a file, without white space around them and
// but for the empty ones, until it returns false, and returns the number of the
// last one, from 1 on.
func scan(path string, each func(line []byte) bool) (at int, err error) {
	f, err := open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	} else if !st.Mode().IsRegular() {
		return 0, fmt.Errorf("%s is not a regular file", path)
	}
	at, err = (&reader{path: path, r: f, size: st.Size()}).scan(each)
	if err == bufio.ErrTooLong {
		err = fmt.Errorf("line %d of %s: %w", at, path, errTooLong)
	}
	return at, err
}

// A reader reads a file of the size, 0 if that is not known. What ends too early
// would take groups from a user, and digits from an id: it ends in an error.
type reader struct {
	path      string
	r         io.Reader
	size, got int64
	err       error
}

func (r *reader) scan(each func(line []byte) bool) (at int, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 16<<10), maxLine)
	for at = 1; lines.Scan(); at++ {
		if r.err != nil && r.err != io.EOF {
			return at, r.err // and this line may be cut off
		}
		if line := bytes.TrimSpace(lines.Bytes()); len(line) > 0 && !each(line) {
			return at, nil
		}
	}
	return at, lines.Err()
}

func (r *reader) Read(b []byte) (n int, err error) {
	n, err = r.r.Read(b)
	r.got += int64(n)
	if err == io.EOF && r.size > 0 && r.got != r.size {
		err = fmt.Errorf("%s has %d bytes, and %d were read", r.path, r.size, r.got)
	}
	r.err = err
	return n, err
}
