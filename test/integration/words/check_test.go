package words

import (
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// An outcome is check --json.
type outcome struct {
	OK          bool
	Allow, Sets []string
	Stray       []struct {
		Name   string
		Number int
		Sets   []string
	}
	Hint string
}

// check looks at the sets that it is told to, of itself or of another process.
func TestCheckComparesTheSetsAskedFor(t *testing.T) {
	check := func(options, words string) (engine.Result, outcome) {
		t.Helper()
		var o outcome
		r := start(t, options, append([]string{"check", "--json", "--log-format=json"}, strings.Fields(words)...)...)
		if r.Stdout != "" {
			engine.Decode(t, r.Stdout, &o)
			if o.OK != (r.Code == 0) || o.OK != (len(o.Stray) == 0) || o.OK != (o.Hint == "") || o.OK != (r.Stderr == "") {
				t.Errorf("%s: %v", words, r)
			}
		}
		return r, o
	}
	for _, c := range []struct {
		options, words, stray, sets string
	}{
		{"-b 0", "--allow=none", "", ""},
		{"-b 10c0", "--allow=setuid,SETGID --allow=cap_net_admin", "", ""},
		{"-b 10c0", "--allow=all", "", ""},
		{"-b 10c0", "--allow=6,7", "net_admin", "permitted,effective"},
		{"-b 11c0 -i 1000", "--allow=6,7,8", "net_admin", "permitted,effective,inheritable"},
		{"-u 65532 -b 1000", "--allow=none", "", ""},
		{"-u 65532 -b 1000", "--allow=none --sets=bounding", "net_admin", "bounding"},
		{"-u 65532 -b 3000 -p 1000 -i 1000 -a 1000", "--allow=net_raw --sets=ambient,Bounding", "net_admin", "ambient,bounding"},
		{"-u 65532 -b 3000 -p 1000 -i 1000 -a 1000", "--allow=none --sets=effective", "net_admin", "effective"},
	} {
		r, o := check(c.options, c.words)
		if c.stray == "" {
			if r.Code != 0 || !o.OK {
				t.Errorf("%+v: %v", c, r)
			}
		} else if len(o.Stray) != 1 || o.Stray[0].Name != c.stray || o.Stray[0].Number != 12 || strings.Join(o.Stray[0].Sets, ",") != c.sets {
			t.Errorf("%+v: %v", c, r)
		} else if l := engine.Failed(t, r, engine.Unexpected).Says(t, "net_admin (12)"); !slices.Equal(l.Capability, []string{c.stray}) ||
			strings.Join(l.Sets, ",") != c.sets || l.Hint != o.Hint {
			t.Errorf("%+v: %+v", c, l)
		}
	}
	if _, o := check("-b 10c0", "--allow=6,7 --sets=bounding"); !slices.Equal(o.Allow, []string{"setgid", "setuid"}) || !slices.Equal(o.Sets, []string{"bounding"}) {
		t.Errorf("%+v", o)
	}
	for _, words := range []string{
		"", "--allow=", "--allow=net_amdin", "--allow=none,chown", "--allow=none --sets=all", "--allow=none --sets=",
		"--allow=none --pid=0", "--allow=none --pid=-1", "--allow=none --pid=x", "--allow=none --pid=", "--allow=none --pid=4194305", "--allow=none --pid=99999999999999999999", "--allow=none extra", "--allow=none --bogus",
	} {
		r, _ := check("", words)
		engine.Refused(t, r, engine.Failure)
	}
	engine.Refused(t, caplaunch(t, "check", "--allow=none", "--", "true"), engine.Failure)
}

// check --pid looks at the process named, whoever it belongs to and whoever asks.
func TestCheckOfAnotherProcess(t *testing.T) {
	engine.RequireRoot(t)
	sleeper := func(options string) string {
		pid := strconv.Itoa(engine.Background(t, engine.StartCommand(t, strings.Fields(options), engine.Probe(t), "pause")))
		if !engine.Await(func() bool {
			exe, _ := os.Readlink("/proc/" + pid + "/exe")
			return strings.Contains(exe, "probe")
		}) {
			t.Fatal("capstart did not become the probe")
		}
		return pid
	}
	own, other := sleeper("-b 1000 -n"), sleeper("-u 1000 -g 1000 -b 3000 -p 2000 -i 2000 -a 2000")
	for _, asker := range []string{"", "-u 65532 -g 65532 -b 0"} {
		start(t, asker, "check", "--allow=net_admin", "--pid="+own).Ran(t)
		strays := start(t, asker, "check", "--allow=net_admin", "--pid", other)
		engine.Failed(t, strays, engine.Unexpected).Says(t, "net_raw (13) in permitted,effective,inheritable,ambient")
	}
	gone := exec.Command("true")
	engine.Must(t, gone.Run())
	pid := strconv.Itoa(gone.Process.Pid)
	engine.Refused(t, caplaunch(t, "check", "--allow=none", "--pid="+pid), engine.Failure)

	// show, of the same ones.
	var s engine.State
	engine.Decode(t, caplaunch(t, "show", "--json", other).Stdout, &s)
	if s.UID != (engine.IDs{Real: 1000, Effective: 1000, Saved: 1000}) || !slices.Equal(s.Ambient, []string{"net_raw"}) || !slices.Equal(s.Bounding, []string{"net_admin", "net_raw"}) || s.Securebits != nil {
		t.Errorf("%+v", s)
	}
	caplaunch(t, "show", own).Ran(t, "no_new_privs on")
	caplaunch(t, "show", other).Ran(t, "uid 1000  gid 1000  no_new_privs off  groups ", "securebits unknown")
	for _, bad := range []string{"0", "x", pid, "1 2"} {
		engine.Refused(t, caplaunch(t, append([]string{"show"}, strings.Fields(bad)...)...), engine.Failure)
	}
}

// What cannot be printed is an error, and so is what cannot be read without /proc. A status that does not say what it has
// to is no answer, of the process or of a thread.
func TestCheckOfNothing(t *testing.T) {
	engine.RequireRoot(t, "unshare")
	const check = `; exec "$0" check --allow=all --pid=$$`
	for script, says := range map[string]string{
		`exec "$0" show >&-`:                                         "stdout is closed",
		`exec "$0" show >/dev/full`:                                  "stdout cannot be written: no space left on device",
		`umount -l /proc; exec "$0" show 1`:                          "there is no /proc",
		`exec "$0" check --allow=all --pid=$((1<<30))`:               "no such file or directory",
		`mount --bind /proc/version /proc/$$/status` + check:         "malformed process status",
		`mount --bind /proc/version /proc/$$/task/$$/status` + check: "cannot be read",
	} {
		t.Run(script, func(t *testing.T) {
			said := engine.Refused(t, engine.Exec(t, "unshare", "--mount", "sh", "-ec", script, engine.Caplaunch(t)), engine.Failure).Says(t, says)
			hints := map[string]string{"malformed process status": "Linux 4.10 or newer", "no such file or directory": "the number of a process"}
			said.Hints(t, hints[says])
		})
	}
}

// show tells what is there, also in an image with nothing in it but caplaunch, and without /proc.
func TestShowTellsTheState(t *testing.T) {
	bare := engine.Tree(t, map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t))})
	for _, options := range starts {
		if strings.Contains(options, "-u 0,") || strings.Contains(options, "-g 0,") {
			engine.Refused(t, start(t, options, "show"), engine.Failure) // started as a set-uid program is
			continue
		}
		in := append([]string{"-R", bare}, strings.Fields(options)...)
		var got engine.State
		engine.Decode(t, engine.Start(t, in, "/caplaunch", "show", "--json").Stdout, &got)
		if want := found(t, engine.Start(t, in, "/probe").Stdout); !reflect.DeepEqual(got, want) {
			t.Errorf("from %q:\n%+v, want\n%+v", options, got, want)
		}
		wantWidth(t, options, engine.Start(t, in, "/caplaunch", "show").Ran(t, got.Bounding...).Stdout)
	}
	d, img := docker(t)
	r := d.Run(t, img, []string{"--user=65532:65532", "--cap-drop=ALL", "--cap-add=NET_ADMIN", "--security-opt=no-new-privileges"}, "/caplaunch", "show")
	const want = "uid 65532  gid 65532  no_new_privs on  groups 65532\nsecurebits none\n  .  .  .  .  B  net_admin\nP permitted  I inheritable  E effective  A ambient  B bounding\n"
	if got := strings.Replace(r.Stdout, "groups none", "groups 65532", 1); r.Code != 0 || got != want {
		t.Errorf("%q\nwant %q", r.Stdout, want)
	}
}
