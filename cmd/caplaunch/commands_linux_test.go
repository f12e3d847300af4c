package main

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
)

// on is an app on the Sim, in that state.
func on(now ambient.State) (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	sim := &ambient.Sim{Now: now, On: ambient.Host{Known: ambient.UpTo(40), Ambient: true, SetGroups: true}}
	return &app{kernel: &simulated{Sim: sim}, environ: []string{"container=docker"}, stdout: stdout, stderr: stderr}, stdout, stderr
}

func TestCheckReachesItsSentinelAndItsFields(t *testing.T) {
	stray := ambient.SetOf(21, 45)
	a, _, stderr := on(ambient.State{Permitted: stray, Effective: ambient.SetOf(21)})
	err := a.check(&checkCmd{Allow: []string{"net_admin"}}, &reporter{w: stderr})
	var e *ambient.UnexpectedCapabilityError
	if !errors.Is(err, ambient.ErrUnexpectedCapability) || !errors.As(err, &e) || exitStatus(err) != 78 {
		t.Fatal(err)
	}
	if e.Set() != stray || e.Allow != ambient.SetOf(12) || e.Stray[0].In != ambient.InPermitted|ambient.InEffective || e.Stray[1].In != ambient.InPermitted {
		t.Errorf("%+v", e)
	}
	const want = "caplaunch: error: more was granted than allowed: sys_admin (21) in permitted,effective, 45 in permitted; the allowlist is net_admin\n"
	if got, _, _ := strings.Cut(stderr.String(), "caplaunch: hint: docker run --cap-drop=SYS_ADMIN"); got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	a, _, stderr = on(ambient.State{Permitted: stray})
	if err := a.check(&checkCmd{Allow: []string{"sys_admin 45"}}, &reporter{w: stderr}); err != nil || stderr.Len() > 0 {
		t.Errorf("%v %s", err, stderr)
	}
}

func TestMalformedStatusIsAnErrorThatNamesTheField(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(status, old, new, 1) }
	for text, field := range map[string]string{
		"": "Uid", "\x00\xff": "Uid", strings.Repeat("\n:", 1<<16): "Uid", replace("CapPrm:\t8000200000001000\n", ""): "CapPrm", replace("8000200000001000", "zz"): "CapPrm",
		replace("8000200000001000", "18000200000001000"): "CapPrm", replace("8000200000001000", "-1"): "CapPrm", replace("8000200000001000", ""): "CapPrm",
		replace("Uid:\t1\t1\t1\t1", "Uid:\t1\t1\t1"): "Uid", replace("Uid:\t1", "Uid:\t4294967296"): "Uid", replace("Gid:\t2", "Gid:\t-2"): "Gid",
		replace("Groups:\t3 4 \n", ""): "Groups", replace("3 4", "3 x"): "Groups", replace("NoNewPrivs:\t1", "NoNewPrivs:\t2"): "NoNewPrivs", replace("NoNewPrivs:\t1\n", ""): "NoNewPrivs",
		status[:len(status)-40]: "CapAmb",
	} {
		_, err := ambient.ParseStatus(text)
		err = usagef("", "process 1: %w", err) // as check --pid wraps it
		var e *ambient.StatusError
		if !errors.As(err, &e) || e.Field != field || !strings.Contains(err.Error(), "malformed") || exitStatus(err) != 125 {
			t.Errorf("%.80q: %v", text, err)
		}
		if e != nil && e.Err != nil && !errors.Is(err, strconv.ErrSyntax) && !errors.Is(err, strconv.ErrRange) {
			t.Errorf("%.80q: %v is not what strconv said", text, e.Err)
		}
	}
	// A process can call itself what it likes; it cannot add a field.
	if s, err := ambient.ParseStatus(replace("Name:\tx", `Name:	x\nCapPrm:	ffff`)); err != nil || s.Permitted != 0x8000200000001000 {
		t.Errorf("%v %v", s, err)
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(status)
	f.Fuzz(func(t *testing.T, text string) {
		_, err := ambient.ParseStatus(text)
		var e *ambient.StatusError
		if err != nil && (!errors.As(err, &e) || e.Field == "") {
			t.Error(err)
		}
	})
}

func TestStepsThatDifferInTheCapabilityAreOneLine(t *testing.T) {
	got := summed([]ambient.Step{ambient.DropBounding{Cap: 0}, ambient.DropBounding{Cap: 1}, ambient.SetKeepCaps{On: true}, ambient.RaiseAmbient{Cap: 12}, ambient.RaiseAmbient{Cap: 45}, ambient.SetKeepCaps{}, ambient.SetNoNewPrivs{}})
	want := "prctl PR_CAPBSET_DROP chown dac_override|prctl PR_SET_KEEPCAPS 1|prctl PR_CAP_AMBIENT_RAISE net_admin 45|prctl PR_SET_KEEPCAPS 0|prctl PR_SET_NO_NEW_PRIVS 1"
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}

// What the kernel does not know no runtime can give; and whoever has to name a
// user yet will need to switch to it.
func TestTheSmallestGrantIsOneThatWorks(t *testing.T) {
	known := ambient.UpTo(40)
	l := &launch{host: ambient.Host{Known: known}}
	l.req.Required.Set, l.req.Optional.Set = ambient.SetOf(12), ambient.SetOf(13, 45)
	switching := ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID)
	if g := smallest(l, nil); !g.Root || g.Caps != ambient.SetOf(12, 13)|switching {
		t.Errorf("%+v", g)
	}
	l.now.UID = ambient.Same(65532)
	if g := smallest(l, nil); g.Root || g.Caps != ambient.SetOf(12, 13) {
		t.Errorf("not root: %+v", g)
	}
	if g := smallest(l, errLeft); !g.Root || g.Caps != ambient.SetOf(12, 13)|switching {
		t.Errorf("not root, and refused: %+v", g)
	}
	l.place = grant.Podman
	if g := smallest(l, errLeft); g.Root || g.Caps != ambient.SetOf(12, 13) {
		t.Errorf("not root, and refused in Podman: %+v", g)
	}
}

func TestALongGrantCanStillBePasted(t *testing.T) {
	g := grant.Grant{Caps: ambient.UpTo(40), Root: true}
	for _, c := range []struct {
		place grant.Place
		end   string
	}{{grant.Docker, ` \`}, {grant.Systemd, ` \`}, {grant.Kubernetes, ","}, {grant.Compose, ","}} {
		for line := range strings.Lines(g.Text(c.place)) {
			parts := wrapGrant(c.place, strings.TrimSuffix(line, "\n"))
			for i, p := range parts {
				if len(p) > columns-2 || i < len(parts)-1 && !strings.HasSuffix(p, c.end) {
					t.Errorf("%v: %q", c.place, p)
				}
			}
		}
	}
}

// A pipe whose reader has gone is an error, not a success.
func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	for _, args := range [][]string{{"show"}, {"show", "--json"}, {"version"}, {"version", "--json"}, {"check", "--allow=all", "--json"}, {"explain", "--for=docker", "-u", "1:1"}} {
		a, _, stderr := on(ambient.State{})
		a.stdout = failing{}
		if code := a.main(append([]string{"caplaunch"}, args...)); code != 125 || !strings.Contains(stderr.String(), "error") {
			t.Errorf("%q: %d %s", args, code, stderr)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
