package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

// files writes a passwd and a group file.
func files(t testing.TB, passwd, group string) Files {
	t.Helper()
	f := Files{filepath.Join(t.TempDir(), "passwd"), filepath.Join(t.TempDir(), "group")}
	unit.Write(t, f.Passwd, passwd, 0o644)
	unit.Write(t, f.Group, group, 0o644)
	return f
}

// look looks a user up who is to be launched by root.
func look(t testing.TB, f Files, spec string) (Answer, error) {
	t.Helper()
	s, err := Parse(spec)
	unit.Must(t, err)
	return f.Look(Wish{User: &s}, 0)
}

const passwd = `root:x:0:0:root:/root:/bin/sh
# a comment
relay:x:65532:65532:relay:/home/relay:/sbin/nologin
nohome:x:70:71
bad:x:y:z:::
half:x:80:z:::
huge:x:4294967296:0:::
top:x:4294967295:0:::
over:x:2147483648:0:::
minus:x:-1:0:::
plus:x:+1:0:::
space:x: 1:0:::
under:x:1_0:0:::
hex:x:0x0:0:::
octal:x:010:0:::
empty:x::0:::
relay:x:1:1:a second line of the same name:/:
crlf:x:90:91::/crlf:/bin/sh
`

const group = `root:x:0:
relay:x:65532:
net:x:100:relay,other
log:x:101:other,relay
bad:x:zero:
badmember:x::nohome
other:x:102:relay2
net:x:103:a second line of the same name
`

func TestNamesAndNumbersAreLookedUp(t *testing.T) {
	f := files(t, passwd, group)
	for spec, want := range map[string]ambient.User{
		"relay":       {UID: 65532, GID: 65532, Groups: ambient.NewGroups(65532, 100, 101)},
		"65532":       {UID: 65532, GID: 65532, Groups: ambient.NewGroups(65532, 100, 101)},
		"relay:net":   {UID: 65532, GID: 100, Groups: ambient.NewGroups(100)},
		"65532:65532": {UID: 65532, GID: 65532, Groups: ambient.NewGroups(65532)},
		"5:6":         {UID: 5, GID: 6, Groups: ambient.NewGroups(6)},
		"5:log":       {UID: 5, GID: 101, Groups: ambient.NewGroups(101)},
		"root":        {UID: 0, GID: 0, Groups: ambient.NewGroups(0)},
		"relay:0":     {UID: 65532, GID: 0, Groups: ambient.NewGroups(0)},
		"crlf":        {UID: 90, GID: 91, Groups: ambient.NewGroups(91)},
	} {
		if a, err := look(t, f, spec); err != nil || *a.User != want {
			t.Errorf("%q is %+v, %v, want %+v", spec, a.User, err, want)
		}
	}
	a, err := look(t, f, "relay")
	if want := (Entry{"relay", "/home/relay", 65532, 65532}); err != nil || a.New != want || a.Start != (Entry{}) {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestLookupsThatFail(t *testing.T) {
	f := files(t, passwd, group)
	none := Files{filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "none")}
	folder := Files{t.TempDir(), t.TempDir()}
	path := filepath.Join(t.TempDir(), "fifo")
	fifo := Files{path, path}
	unit.Must(t, syscall.Mkfifo(path, 0o644)) // nobody ever writes to it
	long := files(t, strings.Repeat("a", 4<<20)+"\n", "")
	// What is nobody's: comments, what NIS is asked for, a line without a name, and one that no variable can hold.
	odd := files(t, "#c:x:5:0::/:\n+:x:6:0:::\n-n:x:7:0::/:\n:x:8:8::/:\na\x00b:x:9:9::/:\nh:x:10:10::/\x00:\n\x00n:x:11:11::/:\nm:x:12:12::/:\ncut",
		"root:x:0:\n#g:x:0:\n+g:x:0:\nempty:x:50:\none:x:0x1:m\ntwo:x:2:m\n")
	for _, c := range []struct {
		f     Files
		want  Lookup
		specs string
	}{
		{f, NotFound, "nobody 70:nogroup rel 5:ne"},
		{f, NoGroup, "1234 6553"},
		{f, Malformed, "bad half huge minus 80 top top:5 over plus space under hex octal empty relay:bad"},
		{f, Malformed, "nohome"}, // a group that lists it
		{none, NoFile, "relay 1:net"},
		{none, NoGroup, "1234"},
		{Files{"/dev/null/passwd", "/dev/null/group"}, NoFile, "relay"},
		{folder, Unreadable, "relay 5 5:net"},
		{fifo, Unreadable, "relay 5:net"},
		{odd, NoGroup, "5 6 7"},
		{odd, NotFound, "#c cut 1:#g"},
		{odd, Malformed, "8 9 h 11"},
		{odd, Malformed, "m"}, // of a group; a good one follows
		{long, Unreadable, "relay 5"},
	} {
		for spec := range strings.FieldsSeq(c.specs) {
			_, err := look(t, c.f, spec)
			user, group, isGroup := strings.Cut(spec, ":")
			if e, ok := errors.AsType[*LookupError](err); !ok || e.Why != c.want || e.Group != (isGroup && e.Name.Text == group) || !e.Group && e.Name.Text != user {
				t.Errorf("%q: %v, want %q", spec, err, c.want)
			}
		}
	}
}

func TestTwoNumbersNeedNoFile(t *testing.T) {
	none := Files{"/nonexistent/passwd", "/nonexistent/group"}
	s, _ := Parse("65532:65532")
	// A folder in the place of the file, or a malformed line, does not matter either, nor an entry that nobody asked for.
	for _, f := range []Files{none, {t.TempDir(), t.TempDir()}, files(t, "x:x:65532:0x0:::\n", ""), files(t, passwd, group)} {
		for _, entries := range []bool{false, true} {
			a, err := f.Look(Wish{User: &s, Entries: entries}, 0)
			has := entries && a.Start.Name == "root"
			if want := (ambient.User{UID: 65532, GID: 65532, Groups: ambient.NewGroups(65532)}); err != nil || *a.User != want || (a.New != Entry{}) != has || a.Groups != nil {
				t.Errorf("%+v, %v", a, err)
			}
		}
	}
}

func TestEntriesAreThoseOfTheUserAndOfTheStart(t *testing.T) {
	f := files(t, passwd, group)
	for _, spec := range []string{"65532:1", "relay:1", "relay"} {
		s, _ := Parse(spec)
		a, err := f.Look(Wish{User: &s, Entries: true}, 90)
		if err != nil || a.New.Home != "/home/relay" || a.Start != (Entry{"crlf", "/crlf", 90, 91}) {
			t.Errorf("%s: %+v, %v", spec, a, err)
		}
	}
}

func TestGroupsStandInThePlaceOfMemberships(t *testing.T) {
	f := files(t, passwd, group)
	names, _ := ParseGroups("net,7", "log net")
	s, _ := Parse("relay")
	for _, user := range []*Spec{nil, &s} {
		a, err := f.Look(Wish{User: user, Groups: names}, 0)
		if want := ambient.NewGroups(100, 7, 101); err != nil || *a.Groups != want || user != nil && a.User.Groups != ambient.NewGroups(65532) || user == nil && a.User != nil {
			t.Errorf("%+v, %v, want %v", a, err, want)
		}
	}
	for list, user := range map[string]string{"nogroup 7": "5:6", "7 bad": "5:6", "7": "5:nogroup"} {
		names, _ := ParseGroups(list)
		s, _ := Parse(user)
		_, err := f.Look(Wish{User: &s, Groups: names, KeepGroups: true}, 0)
		if e, ok := errors.AsType[*LookupError](err); !ok || !e.Group {
			t.Errorf("%s: %v", list, err)
		}
	}
}

func TestKeptGroupsAreLessThoseOfTheStartingUser(t *testing.T) {
	alpine := "root:x:0:root\nbin:x:1:root,bin\ndisk:x:6:root,adm\nwheel:x:10:root\nmail:x:12:\nusers:x:100:games\nstaff:x:101:rootless,alice\n"
	for name, c := range map[string]struct {
		passwd, group string
		start         uint32
		want          ambient.Groups
		fails         bool
	}{
		"root":                   {"root:x:0:0:root:/root:/bin/ash\n", alpine, 0, ambient.NewGroups(0, 1, 6, 10), false},
		"root without an entry":  {"", alpine, 0, ambient.NewGroups(0, 1, 6, 10), false},
		"another name":           {"toor:x:0:0:::\n", strings.ReplaceAll(alpine, "root", "toor"), 0, ambient.NewGroups(0, 1, 6, 10), false},
		"two names":              {"toor:x:0:0:::\nroot:x:0:0:::\n", alpine, 0, ambient.NewGroups(0, 1, 6, 10), false},
		"a malformed other name": {"root:x:0:0:::\ntoor:x:00:12:::\nbare\n#adm:x:5:5\n", "+disk:x:6:toor\n#wheel:x:10:root\nlp:x:7:bare\nadm:x:4:adm\nmail:x:12:\n", 0, ambient.NewGroups(0, 6, 7, 10, 12), false},
		"a line without an end":  {"root:x:0:0:::\n" + strings.Repeat("x", 8<<20), alpine, 0, "", true},
		"blanks and NUL":         {"alice:x:5:5:::\nroot:x:0:0:::\nbob:x:6:6:::\n+foo:x:0:010:::\n", "wheel:x:11:daemon, root\na:x:12:root\x00x\nb:x:13:\troot,c\nd:x:14:+foo\ne:x:15:root \nf:x:16:foo\n", 0, ambient.NewGroups(0, 10, 11, 12, 13, 14, 15, 16), false},
		"a blank line":           {"root:x:0:0:::\n\n", "mail:x:12:\n", 0, ambient.NewGroups(0), false},
		"two names of a user":    {"rootless:x:5:5:::\ngames:x:5:5:::\n", alpine, 5, ambient.NewGroups(100, 101), false},
		"somebody else":          {"alice:x:5:5:::\n", alpine, 5, ambient.NewGroups(101), false},
		"nobody":                 {"", alpine, 5, ambient.NewGroups(), false},
		"a malformed group":      {"root:x:0:0:::\n", alpine + "odd:x:0x1:root\n", 0, "", true},
		"a malformed entry":      {"root:x:0:zero:::\n", alpine, 0, "", true},
	} {
		a, err := files(t, c.passwd, c.group).Look(Wish{KeepGroups: true}, c.start)
		e, told := errors.AsType[*LookupError](err)
		if (err != nil) != c.fails || err == nil && a.Memberships != c.want ||
			c.fails && (!told || e.Path == "" || e.Name.Text != "0" || e.Why == Unreadable && e.Err == nil) {
			t.Errorf("%s: %v, %+v", name, a.Memberships, err)
		}
	}
	// A symlink of the image to another mount may hide root's own.
	link := filepath.Join(unit.Folder(t), "group")
	unit.Must(t, os.Symlink("/proc/version", link))
	_, err := Files{files(t, "root:x:0:0:::\n", "").Passwd, link}.Look(Wish{KeepGroups: true}, 0)
	if e, ok := errors.AsType[*LookupError](err); !ok || e.Name.Text != "0" || e.Path != link {
		t.Errorf("%v", err)
	}
	// A file that the runtime has put there is no symlink.
	if _, err = (Files{files(t, "root:x:0:0:::\n", "").Passwd, "/proc/version"}).Look(Wish{KeepGroups: true}, 0); err != nil {
		t.Error(err)
	}
	// An image without files has no memberships. Who may not read passwd has those of nobody.
	alice, none := Spec{User: Name{Text: "alice"}}, "/nonexistent"
	if a, err := (Files{files(t, "alice:x:5:5:::\n", "").Passwd, none}).Look(Wish{User: &alice}, 0); err != nil || a.User.Groups != ambient.NewGroups(5) {
		t.Errorf("%+v, %v", a, err)
	}
	for _, c := range []struct {
		f     Files
		start uint32
		fails bool
	}{{Files{none, none}, 0, false}, {Files{t.TempDir(), none}, 5, false}, {Files{none, t.TempDir()}, 0, true}} {
		if a, err := c.f.Look(Wish{KeepGroups: true}, c.start); (err != nil) != c.fails || a.Memberships != "" {
			t.Errorf("%+v: %+v, %v", c, a, err)
		}
	}
}

// TestASymlinkToAnotherMountDoesNotTellRootsGroups, since a runtime read what the mount hides.
func TestASymlinkToAnotherMountDoesNotTellRootsGroups(t *testing.T) {
	t.Chdir(t.TempDir()) // the way from / may lead over a mount
	unit.Shell(t, ".", "ln -s file near; ln -s /proc/sys/kernel/ostype away; ln -s /proc/nonexistent gone")
	unit.Write(t, "file", "root:x:0:0::/:\nwheel:x:10:root\n", 0o644)
	for _, c := range []struct {
		files Files
		start uint32
		fails string
	}{
		{Files{"file", "file"}, 0, ""},
		{Files{"near", "near"}, 0, ""},
		{Files{"file", "gone"}, 5, ""},
		{Files{"file", "away"}, 0, "away"},
		{Files{"file", "gone"}, 0, "gone"},
		{Files{"gone", "near"}, 0, "gone"},
	} {
		_, err := c.files.Look(Wish{KeepGroups: true}, c.start)
		e, ok := errors.AsType[*LookupError](err)
		if c.fails == "" && err != nil || c.fails != "" && (!ok || e.Path != c.fails || e.Why != Unreadable || !strings.Contains(err.Error(), "another mount")) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestLongFilesAreReadToTheEnd(t *testing.T) {
	const last = 200_000 - 1
	var users strings.Builder
	for i := range last + 1 {
		fmt.Fprintf(&users, "user%d:x:%d:%[2]d:User %[1]d:/home/user%[1]d:/bin/sh\n", i, i+1000)
	}
	f := files(t, users.String(), "g:x:7:"+strings.Repeat("m,", 100_000)+fmt.Sprintf("user%d", last)) // no newline at the end
	if st, _ := os.Stat(f.Passwd); st.Size() < 10<<20 {
		t.Fatalf("only %d bytes", st.Size())
	}
	for _, spec := range []string{fmt.Sprintf("user%d", last), fmt.Sprint(last + 1000)} {
		a, err := look(t, f, spec)
		if want := (ambient.User{UID: last + 1000, GID: last + 1000, Groups: ambient.NewGroups(last+1000, 7)}); err != nil || *a.User != want {
			t.Errorf("%s: %+v, %v", spec, a.User, err)
		}
	}
	var many strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&many, "g%d:x:%d:u\n", i, i)
	}
	a, err := look(t, files(t, "u:x:5:5::/:\n", many.String()), "u")
	if err != nil || a.User.Groups.Len() != 100_000 { // too many for the kernel, which the plan says
		t.Errorf("%v", err)
	}
}

// A read that ends too early, or fails, in the middle of an id would make it another id.
func TestALineThatIsCutOffIsNoLine(t *testing.T) {
	const text = "a:x:1:1::/:\nbob:x:10000:10000::/:\n"
	const size = int64(len(text))
	reads := func(answers ...any) func([]byte) (int, error) {
		return func(b []byte) (int, error) {
			if len(answers) == 0 {
				return 0, nil
			}
			a := answers[0]
			answers = answers[1:]
			switch a := a.(type) {
			case string:
				return copy(b, a), nil
			case error:
				return 0, a
			}
			return a.(int), nil
		}
	}
	for cut := 1; cut < len(text); cut++ {
		for _, c := range []struct {
			says string
			size int64
			read func([]byte) (int, error)
		}{
			{"were read", size, reads(text[:cut])},
			{"input/output", size, reads(text[:cut], syscall.EIO)},
			{"impossible", size, reads(text[:cut], -1)},
			{"impossible", size, reads(text[:cut], 2<<20)},
			{"", size, reads(text[:cut], syscall.EINTR, text[cut:])},
			{"", size, reads(text[:cut], text[cut:cut+1], text[cut+1:])},
			{"", 0, reads(text)},
		} {
			var seen []string
			err := scanLines(c.read, c.size, []byte(":"), func(line []byte) bool { seen = append(seen, strings.TrimSpace(string(line))); return true })
			if c.says == "" {
				if err != nil || len(seen) != 2 || seen[1] != "bob:x:10000:10000::/:" {
					t.Errorf("%q: %q, %v", text[:cut], seen, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.says) || len(seen) > 1 || len(seen) == 1 && seen[0] != "a:x:1:1::/:" {
				t.Errorf("%q: %q, %v, want %q", text[:cut], seen, err, c.says)
			}
		}
	}
}

func FuzzFiles(f *testing.F) {
	f.Add(passwd, group, "relay")
	f.Add("x:y:z:w:::", "", "x")
	f.Add("x:x:0x0:0:::", "x:x:+1:x", "x:x")
	f.Fuzz(func(t *testing.T, passwd, group, spec string) {
		s, err := Parse(spec)
		if err != nil {
			return
		}
		a, err := files(t, passwd, group).Look(Wish{User: &s, Entries: true, KeepGroups: true}, 0)
		if err != nil {
			if _, ok := errors.AsType[*LookupError](err); !ok || strings.Contains(err.Error(), "WHO") {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		// An id is one that stands there in plain decimal.
		stands := func(text string, id uint32) bool { return strings.Contains(text, fmt.Sprint(id)) }
		if u := a.User; !s.User.Numeric && !stands(passwd, u.UID) || s.Group == nil && !stands(passwd, u.GID) || s.Group != nil && !s.Group.Numeric && !stands(group, u.GID) {
			t.Fatalf("%+v from nowhere", u)
		}
		for _, id := range append(a.Memberships.IDs(), a.User.Groups.Without(ambient.NewGroups(a.User.GID)).IDs()...) {
			if !stands(passwd+group, id) { // the groups of root are in passwd too
				t.Fatalf("group %d from nowhere", id)
			}
		}
	})
}
