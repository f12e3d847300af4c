package identity

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

func TestHostileSpecsAreRefused(t *testing.T) {
	for spec, want := range map[string]Problem{
		"": Empty, ":": EmptyUser, "0:": EmptyGroup, ":0": EmptyUser, "1:2:3": Colons,
		"4294967295": TooLarge, "4294967296": TooLarge, "2147483648": TooLarge,
		"99999999999999999999999999": TooLarge, "-1": NotDecimal, "+5": NotDecimal, "0x1": NotDecimal,
		"0b1": NotDecimal, "0o7": NotDecimal, "1_000": NotDecimal, "1e3": NotDecimal, "007": NotDecimal, "00": NotDecimal,
		"1.0": NotDecimal, "0x1p-2": NotDecimal, "-inf": NotDecimal,
		" 1": NotAName, "1 ": NotAName, "\t0": NotAName, "0\n": NotAName, "a b": NotAName, "-": NotAName,
		"65532:+5": NotDecimal, "65532:4294967296": TooLarge, "65532:-1": NotDecimal, "65532: 0": NotAName,
		"root\x00": NotAName, "../etc": NotAName, "a,b": NotAName, "\u00a00": NotAName, "\xff": NotAName,
		strings.Repeat("a", 300): NotAName,
	} {
		_, err := Parse(spec)
		var e *SpecError
		if !errors.As(err, &e) || e.Problem != want {
			t.Errorf("Parse(%q): %v, want it to be refused because it %s", spec, err, want)
		}
	}
}

func TestPlainSpecsAreRead(t *testing.T) {
	for spec, want := range map[string][2]string{
		"0": {"0", ""}, "0:0": {"0", "0"}, "65532:65532": {"65532", "65532"}, "2147483647": {"2147483647", ""},
		"www-data": {"www-data", ""}, "nobody:users": {"nobody", "users"}, "3proxy": {"3proxy", ""}, "nan": {"nan", ""}, "jürgen": {"jürgen", ""},
		`DOM\user`: {`DOM\user`, ""}, "host$": {"host$", ""},
	} {
		s, err := Parse(spec)
		group := ""
		if s.Group != nil {
			group = s.Group.Text
		}
		if err != nil || s.User.Text != want[0] || group != want[1] {
			t.Errorf("Parse(%q) = %+v, %v", spec, s, err)
		}
	}
}

// files writes a passwd and a group file.
func files(t testing.TB, passwd, group string) Files {
	f := Files{filepath.Join(t.TempDir(), "passwd"), filepath.Join(t.TempDir(), "group")}
	for path, text := range map[string]string{f.Passwd: passwd, f.Group: group} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

const passwd = `root:x:0:0:root:/root:/bin/sh
# a comment
relay:x:65532:65532:relay:/home/relay:/sbin/nologin
nohome:x:70:71
bad:x:y:z:::
half:x:80:z:::
huge:x:4294967296:0:::
minus:x:-1:0:::
relay:x:1:1:a second line of the same name:/:
`

const group = `root:x:0:
relay:x:65532:
net:x:100:relay,other
log:x:101:other,relay
bad:x:zero:
badmember:x::nohome
other:x:102:relay2
`

func TestResolve(t *testing.T) {
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
	} {
		s, err := Parse(spec)
		if err != nil {
			t.Fatal(err)
		}
		u, _, err := f.Resolve(s, false, false)
		if err != nil || u != want {
			t.Errorf("Resolve(%q) = %+v, %v, want %+v", spec, u, err, want)
		}
	}
}

func TestLookupsThatFail(t *testing.T) {
	f := files(t, passwd, group)
	none := Files{filepath.Join(t.TempDir(), "none"), filepath.Join(t.TempDir(), "none")}
	folder := Files{t.TempDir(), t.TempDir()}
	long := files(t, strings.Repeat("a", 2<<20)+"\n", "")
	many := files(t, "u:x:5:5::/:\n", manyGroups(100_000))
	// What is nobody's: comments, what NIS is asked for, a line without a name, and one that no variable can hold.
	odd := files(t, "#c:x:5:0::/:\n+:x:6:0:::\n-n:x:7:0::/:\n:x:8:8::/:\na\x00b:x:9:9::/:\nh:x:10:10::/\x00:\n", "root:x:0:\n#g:x:0:\n+g:x:0:\nempty:x:50:\n")
	for _, c := range []struct {
		f    Files
		spec string
		want Lookup
	}{
		{f, "nobody", NotFound}, {f, "70:nogroup", NotFound}, {f, "1234", NoGroup},
		{f, "bad", Malformed}, {f, "half", Malformed}, {f, "huge", Malformed}, {f, "minus", Malformed}, {f, "80", Malformed},
		{f, "relay:bad", Malformed}, {f, "nohome", Malformed},
		{none, "relay", NoFile}, {none, "1234", NoGroup}, {none, "1:net", NoFile},
		{folder, "relay", Unreadable}, {folder, "5", Unreadable}, {folder, "5:net", Unreadable},
		{odd, "5", NoGroup}, {odd, "#c", NotFound}, {odd, "6", NoGroup}, {odd, "7", NoGroup}, {odd, "8", Malformed}, {odd, "9", Malformed},
		{odd, "h", Malformed}, {odd, "1:#g", NotFound}, {long, "relay", Unreadable}, {many, "u", TooManyOf},
	} {
		s, err := Parse(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = c.f.Resolve(s, false, false)
		var e *LookupError
		if !errors.As(err, &e) || e.Why != c.want {
			t.Errorf("Resolve(%q): %v, want lookup failure %d", c.spec, err, c.want)
		}
	}
}

func manyGroups(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "g%d:x:%d:u\n", i, i)
	}
	return b.String()
}

func TestTwoNumbersNeedNoFile(t *testing.T) {
	none := Files{"/nonexistent/passwd", "/nonexistent/group"}
	s, _ := Parse("65532:65532")
	for _, plain := range []bool{true, false} {
		u, entry, err := none.Resolve(s, plain, false)
		if err != nil || u.UID != 65532 || entry != (Entry{}) {
			t.Errorf("%+v %+v %v", u, entry, err)
		}
	}
	// A folder in the place of the file, or a malformed line, does not matter.
	for _, f := range []Files{{t.TempDir(), t.TempDir()}, files(t, "x:x:65532:0x0:::\n", "")} {
		if u, entry, err := f.Resolve(s, false, false); err != nil || u.UID != 65532 || u.GID != 65532 || entry != (Entry{}) {
			t.Error(u, entry, err)
		}
	}
}

func TestLongFilesAreReadToTheEnd(t *testing.T) {
	var b strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&b, "user%d:x:%d:%d::/home/user%d:/bin/sh\n", i, i+1000, i+1000, i)
	}
	f := files(t, b.String(), "g:x:7:"+strings.Repeat("m,", 100_000)+"user199999\n")
	s, _ := Parse("user199999")
	u, _, err := f.Resolve(s, false, false)
	if want := (ambient.User{UID: 200_999, GID: 200_999, Groups: ambient.NewGroups(200_999, 7)}); err != nil || u != want {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestGroups(t *testing.T) {
	f := files(t, passwd, group)
	names, err := ParseGroups("net,7", "log net")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Groups(names)
	if want := ambient.NewGroups(100, 7, 101); err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", ",", "1,+2", "1,4294967295", "net:log"} {
		var e *SpecError
		if _, err := ParseGroups(bad); !errors.As(err, &e) {
			t.Errorf("ParseGroups(%q): %v", bad, err)
		}
	}
	if _, err := ParseGroups(strings.Repeat("1,", 70_000)); err == nil {
		t.Error("70,000 groups were taken")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0", "root", "1:2", "-1", "4294967296", "0x1", ":", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			var e *SpecError
			if !errors.As(err, &e) {
				t.Fatalf("%T", err)
			}
			return
		}
		for _, n := range []*Name{&s.User, s.Group} {
			if n != nil && n.Numeric && (fmt.Sprint(n.ID) != n.Text || n.ID > MaxID) {
				t.Fatalf("%q became %d", n.Text, n.ID)
			}
		}
	})
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
		u, _, err := files(t, passwd, group).Resolve(s, false, false)
		if err != nil {
			var e *LookupError
			if !errors.As(err, &e) {
				t.Fatalf("%T", err)
			}
			return
		}
		// An id is one that stands there in plain decimal.
		if !s.User.Numeric && !strings.Contains(passwd, fmt.Sprint(u.UID)) {
			t.Fatalf("uid %d from nowhere", u.UID)
		}
		if s.Group == nil && !strings.Contains(passwd, fmt.Sprint(u.GID)) {
			t.Fatalf("gid %d from nowhere", u.GID)
		}
		if s.Group != nil && !s.Group.Numeric && !strings.Contains(group, fmt.Sprint(u.GID)) {
			t.Fatalf("gid %d from nowhere", u.GID)
		}
	})
}

// A read that ends too early, or fails, in the middle of an id would make it another id.
func TestALineThatIsCutOffIsNoLine(t *testing.T) {
	const text = "a:x:1:1::/:\nbob:x:10000:10000::/:\n"
	for cut := range text {
		for want, end := range map[string]io.Reader{
			"were read": strings.NewReader(""),
			"timeout":   iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("::"))),
		} {
			r := &reader{r: io.MultiReader(strings.NewReader(text[:cut]), end), size: int64(len(text))}
			last := ""
			_, err := r.scan(func(line []byte) bool { last = string(line); return !strings.HasPrefix(last, "bob") })
			if err == nil || !strings.Contains(err.Error(), want) || last != "" && last != "a:x:1:1::/:" {
				t.Errorf("%q: %q, %v", text[:cut], last, err)
			}
		}
	}
}
