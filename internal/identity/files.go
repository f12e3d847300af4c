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
func (f Files) Resolve(s Spec, plain, alone bool) (ambient.User, Entry, error) {
	u := ambient.User{UID: s.User.ID}
	var entry Entry
	needed := !s.User.Numeric || s.Group == nil
	if needed || !plain {
		switch found, err := f.findUser(s.User); {
		case err == nil:
			u.UID, u.GID = uint32(found.Uid), uint32(found.Gid)
			entry = Entry{Name: found.Name, Home: found.Home}
		case needed:
			if s.User.Numeric && (err.Why == NotFound || err.Why == NoFile) {
				err.Why = NoGroup
			}
			return u, entry, err
		}
	}
	if s.Group == nil && alone {
		u.Groups = ambient.NewGroups(u.GID)
		return u, entry, nil
	}
	if s.Group == nil {
		gids, err := f.memberships(s.User, entry.Name)
		u.Groups = ambient.NewGroups(append(gids, u.GID)...)
		return u, entry, orNil(err)
	}
	gid, err := f.groupID(*s.Group)
	u.GID = gid
	u.Groups = ambient.NewGroups(gid)
	return u, entry, orNil(err)
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

// orNil keeps a nil pointer from becoming an error.
func orNil(e *LookupError) error {
	if e == nil {
		return nil
	}
	return e
}

// findUser is the first line of passwd with the name, or the id.
func (f Files) findUser(n Name) (user.User, *LookupError) {
	var line []byte
	at, err := scan(f.Passwd, func(l []byte) bool {
		if n.matches(l) {
			line = bytes.Clone(l)
		}
		return line == nil
	})
	if line == nil {
		return user.User{}, lookupError(n, false, f.Passwd, err)
	}
	// The library reads an id that is no number as 0, and cuts large ones.
	parts := bytes.Split(line, []byte(":"))
	if len(parts) < 4 || !plainID(parts[2]) || !plainID(parts[3]) {
		return user.User{}, &LookupError{Name: n, Path: f.Passwd, Why: Malformed, Line: at}
	}
	users, err := user.ParsePasswd(bytes.NewReader(line))
	if err != nil || len(users) != 1 {
		return user.User{}, &LookupError{Name: n, Path: f.Passwd, Why: Malformed, Line: at, Err: err}
	}
	return users[0], nil
}

// groupID is the id of a group.
func (f Files) groupID(n Name) (uint32, *LookupError) {
	if n.Numeric {
		return n.ID, nil
	}
	groups, err := f.groupLines(n, n.matches, 1)
	if err != nil {
		return 0, err
	}
	if len(groups) == 0 {
		return 0, &LookupError{Name: n, Group: true, Path: f.Group}
	}
	return uint32(groups[0].Gid), nil
}

// memberships are the groups that list name as a member, initgroups(3). No file
// means none.
func (f Files) memberships(n Name, name string) ([]uint32, *LookupError) {
	groups, err := f.groupLines(n, func(line []byte) bool {
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
	}, ambient.MaxGroups)
	if err != nil && err.Why != NoFile {
		return nil, err
	}
	var ids []uint32
	for _, g := range groups {
		ids = append(ids, uint32(g.Gid))
	}
	return ids, nil
}

// groupLines parses the first most lines of group that match, which have to
// have a proper id.
func (f Files) groupLines(n Name, match func([]byte) bool, most int) ([]user.Group, *LookupError) {
	var picked bytes.Buffer
	count, malformed := 0, false
	at, err := scan(f.Group, func(l []byte) bool {
		if len(l) == 0 || l[0] == '#' || !match(l) {
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
		return count < most || most > 1 && count == most
	})
	switch {
	case malformed:
		return nil, &LookupError{Name: n, Group: most == 1, Path: f.Group, Why: Malformed, Line: at}
	case count > most:
		return nil, &LookupError{Name: n, Path: f.Group, Why: TooManyOf}
	case err != nil:
		return nil, lookupError(n, most == 1, f.Group, err)
	}
	groups, err := user.ParseGroup(&picked)
	if err != nil {
		return nil, &LookupError{Name: n, Group: most == 1, Path: f.Group, Why: Malformed, Line: at, Err: err}
	}
	return groups, nil
}

func lookupError(n Name, group bool, path string, err error) *LookupError {
	e := &LookupError{Name: n, Group: group, Path: path, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		e.Why = NoFile
	case err != nil:
		e.Why = Unreadable
	}
	return e
}

// matches reports whether a line of passwd or group is about n: by the name, or
// by the number in the third field.
func (n Name) matches(line []byte) bool {
	name, rest, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return false
	}
	if !n.Numeric {
		return string(name) == n.Text
	}
	_, rest, _ = bytes.Cut(rest, []byte(":"))
	id, _, _ := bytes.Cut(rest, []byte(":"))
	return string(id) == n.Text
}

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

// scan calls each for the lines of a file, without white space around them,
// until it returns false, and returns the number of the last one, from 1 on.
func scan(path string, each func(line []byte) bool) (int, error) {
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
	whole := counter{r: f}
	r := bufio.NewReaderSize(&whole, 16<<10)
	for at := 1; ; at++ {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			long := bytes.Clone(line)
			for err == bufio.ErrBufferFull && len(long) <= maxLine {
				line, err = r.ReadSlice('\n')
				long = append(long, line...)
			}
			if len(long) > maxLine {
				return at, fmt.Errorf("line %d of %s: %w", at, path, errTooLong)
			}
			line = long
		}
		if err != nil && err != io.EOF {
			return at, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 && !each(line) {
			return at, nil
		}
		if err == io.EOF {
			// What ends too early would take groups from the user.
			if size := st.Size(); size > 0 && whole.n != size {
				return at, fmt.Errorf("%s has %d bytes, and %d were read", path, size, whole.n)
			}
			return at, nil
		}
	}
}

// A counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
