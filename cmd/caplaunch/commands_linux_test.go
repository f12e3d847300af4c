package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/grant"
	"github.com/caplaunch/caplaunch/internal/identity"
	"github.com/caplaunch/caplaunch/internal/launch"
	"github.com/caplaunch/caplaunch/test/unit"
)

// A simulated machine: the Sim in the place of the kernel.
type simulated struct {
	*ambient.Sim
	death int
}

func (s *simulated) Hide() error { return nil }

func (s *simulated) StateAndHost() (ambient.State, ambient.Host, error) { return s.Now, s.Host, nil }
func (s *simulated) DeathSignal() (int, error)                          { return s.death, nil }
func (s *simulated) SetDeathSignal(sig int) error                       { s.death = sig; return nil }

var thisHost = ambient.Host{Known: ambient.NamedCaps, Ambient: true, SetGroups: true}

// on is an app on the Sim, in that state.
func on(now ambient.State) (a *app, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	sim := &simulated{Sim: &ambient.Sim{Now: now, Host: thisHost}}
	return &app{args: []string{"caplaunch"}, environ: []string{"container=docker"}, stdout: stdout, stderr: stderr, system: system{one: sim, all: sim, files: identity.Etc}}, stdout, stderr
}

func TestCheckReachesItsSentinelAndItsFields(t *testing.T) {
	stray := ambient.SetOf(21, 45)
	a, _, stderr := on(ambient.State{Permitted: stray, Effective: ambient.SetOf(21)})
	l, err := parse([]string{"check", "--allow=net_admin"}, nil, io.Discard)
	unit.Must(t, err)
	err = a.check(l, &reporter{w: stderr})
	var e *ambient.UnexpectedCapabilityError
	var f *failure
	if !errors.Is(err, ambient.ErrUnexpectedCapability) || !errors.As(err, &e) || !errors.As(err, &f) || f.code != exitUnexpected {
		t.Fatal(err)
	}
	if all, _ := e.Set(); all != stray || e.Allow != ambient.SetOf(12) || e.Stray[0].Sets != ambient.InPermitted|ambient.InEffective || e.Stray[1].Sets != ambient.InPermitted {
		t.Errorf("%+v", e)
	}
	if code := a.main([]string{"caplaunch", "check", "--allow=net_admin"}); code != 78 {
		t.Errorf("status %d", code)
	}
	const want = "caplaunch: error: more was granted than allowed: sys_admin (21) in permitted,effective; 45 in permitted; the allowlist is net_admin\n"
	if got, hint, _ := strings.Cut(stderr.String(), "caplaunch: hint: docker run --cap-drop=ALL"); got != want || hint == "" {
		t.Errorf("%q\nwant %q", stderr.String(), want)
	}
	// The hint grants what is allowed and there, in whichever set, and leaves no_new_privs as it is.
	for _, nnp := range []bool{false, true} {
		a, _, stderr := on(ambient.State{Permitted: ambient.SetOf(12), Bounding: ambient.SetOf(5, 21), NoNewPrivs: nnp})
		a.main([]string{"caplaunch", "check", "--allow=net_admin,kill", "--sets=bounding"})
		want := "docker run --cap-drop=ALL --cap-add=KILL --cap-add=NET_ADMIN"
		if nnp {
			want += " --security-opt=no-new-privileges"
		}
		if _, hint, _ := strings.Cut(stderr.String(), "caplaunch: hint: "); hint != want+"\n" {
			t.Errorf("%q, want %q", hint, want)
		}
	}
	// A number no runtime takes, and a container that is privileged must not stay so.
	a, _, stderr = on(ambient.State{Permitted: stray, Bounding: ambient.SetOf(16, 17, 33)})
	a.main([]string{"caplaunch", "check", "--allow=45"})
	if _, hint, _ := strings.Cut(stderr.String(), "hint: "); hint != "docker run --privileged=false --cap-drop=ALL\n" {
		t.Errorf("%q", hint)
	}
	a, _, stderr = on(ambient.State{Permitted: stray})
	a.environ = []string{"container=systemd-nspawn"}
	a.main([]string{"caplaunch", "check", "--allow=net_admin"})
	if _, hint, _ := strings.Cut(stderr.String(), "hint: "); hint != "systemd-nspawn --user=root --drop-capability=CAP_SYS_ADMIN,CAP_45\n" {
		t.Errorf("%q", hint)
	}
	a, _, stderr = on(ambient.State{Permitted: stray})
	if code := a.main([]string{"caplaunch", "check", "--allow=sys_admin 45"}); code != 0 || stderr.Len() > 0 {
		t.Errorf("%d %s", code, stderr)
	}
}

// What each flag changes of a launch, and nothing else.
func TestEveryFlagReachesTheLaunch(t *testing.T) {
	a, _, _ := on(ambient.State{})
	plan := func(words string) launch.Launch {
		t.Helper()
		l, err := parse(append(strings.Fields(words), "--", "id", "-u"), nil, io.Discard)
		unit.Must(t, err)
		job, err := a.launch(l, l.flags())
		unit.Must(t, err)
		job.Say, job.Ready, job.Kernel, job.Request.RootParent = nil, nil, nil, false
		return *job
	}
	chown := ambient.List{Set: 1}
	for words, change := range map[string]func(*launch.Launch, *ambient.Request){
		"":                  func(*launch.Launch, *ambient.Request) {},
		"-c chown":          func(_ *launch.Launch, r *ambient.Request) { r.Required = chown },
		"-o chown":          func(_ *launch.Launch, r *ambient.Request) { r.Optional = chown },
		"--bounding=drop":   func(_ *launch.Launch, r *ambient.Request) { r.Bounding = ambient.CutBounding },
		"--bounding=try":    func(_ *launch.Launch, r *ambient.Request) { r.Bounding = ambient.TryBounding },
		"--allow-new-privs": func(_ *launch.Launch, r *ambient.Request) { r.AllowNewPrivs = true },
		"--strip-file-caps": func(l *launch.Launch, _ *ambient.Request) { l.StripFileCaps = true },
		"-u 1:2": func(l *launch.Launch, _ *ambient.Request) {
			l.User = &identity.Spec{User: identity.Name{Text: "1", ID: 1, Numeric: true}, Group: &identity.Name{Text: "2", ID: 2, Numeric: true}}
		},
		"--groups=adm":             func(l *launch.Launch, _ *ambient.Request) { l.Groups = []identity.Name{{Text: "adm"}} },
		"--keep-groups":            func(_ *launch.Launch, r *ambient.Request) { r.KeepGroups = true },
		"--non-root=keep":          func(_ *launch.Launch, r *ambient.Request) { r.KeepNonRoot = true },
		"--keep-env":               func(l *launch.Launch, _ *ambient.Request) { l.KeepEnv = true },
		"--strict":                 func(_ *launch.Launch, r *ambient.Request) { r.Strict = true },
		"--allow=chown":            func(_ *launch.Launch, r *ambient.Request) { r.Allow = &chown },
		"--strict --sets=bounding": func(_ *launch.Launch, r *ambient.Request) { r.Strict, r.Sets = true, ambient.InBounding },
		"--ignore-signals=HUP":     func(l *launch.Launch, _ *ambient.Request) { l.Ignore = 1 },
		"--stdio=keep":             func(l *launch.Launch, _ *ambient.Request) { l.KeepStdio = true },
	} {
		want := launch.Launch{Argv: []string{"id", "-u"}, Environ: a.environ, Files: identity.Etc, Request: ambient.Request{Sets: ambient.DefaultSets}}
		change(&want, &want.Request)
		if got := plan(words); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nwant %+v", words, got, want)
		}
	}
}

// The sets of a process are those of all its threads, whichever has them.
func TestThreadsJoinTheirSets(t *testing.T) {
	unit.Root(t)
	const bit = 1 << 13
	unit.User{Caps: bit | 1<<ambient.CapSetPCap}.As(t, func() {
		unit.Must(t, unix.Prctl(unix.PR_CAPBSET_DROP, 20, 0, 0, 0))
		caps := [2]unix.CapUserData{{Permitted: bit, Effective: bit, Inheritable: bit}}
		unit.Must(t, unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]))
		unit.Must(t, unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, 13, 0, 0))
		for _, main := range []int{os.Getpid(), unix.Gettid()} { // the others join either
			s, err := threadsOf(main)
			if err != nil || s.Inheritable != bit || s.Ambient != bit || s.Permitted == bit || s.Effective == bit || !s.Bounding.Has(20) {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}

func TestAFolderIsListedWhole(t *testing.T) {
	dir := unit.Folder(t)
	unit.Shell(t, dir, "touch $(seq 3000)")
	if names := list(dir); len(names) != 3000 {
		t.Errorf("%d names", len(names))
	}
}

// A kernel that does not say who this is.
type silent struct{ *simulated }

func (silent) State() (ambient.State, error) { return ambient.State{}, io.ErrUnexpectedEOF }
func (silent) StateAndHost() (ambient.State, ambient.Host, error) {
	return ambient.State{}, ambient.Host{}, io.ErrUnexpectedEOF
}

func TestWhoCannotBeKnownMayHaveBorrowed(t *testing.T) {
	a, _, stderr := on(ambient.State{})
	a.one = silent{a.one.(*simulated)}
	for _, args := range []string{"install /nowhere/at/all", "explain --for=docker", "show", "check --allow=none"} {
		stderr.Reset()
		if code := a.main(append([]string{"caplaunch"}, strings.Fields(args)...)); code != 125 || !strings.Contains(stderr.String(), io.ErrUnexpectedEOF.Error()) {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
}

func TestMalformedStatusIsAnErrorThatNamesTheField(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(status, old, new, 1) }
	for text, field := range map[string]string{
		replace("CapPrm:\t8000200000001000\n", ""): "CapPrm", replace("8000200000001000", "zz"): "CapPrm",
		replace("8000200000001000", "18000200000001000"): "CapPrm", replace("8000200000001000", "-1"): "CapPrm", replace("8000200000001000", "1000"): "CapPrm", replace("8000200000001000", ""): "CapPrm",
		replace("Uid:\t1\t1\t1\t1", "Uid:\t1\t1\t1"): "Uid", replace("Uid:\t1", "Uid:\t4294967296"): "Uid", replace("Gid:\t2", "Gid:\t-2"): "Gid",
		replace("Groups:\t3 4 \n", ""): "Groups", replace("3 4", "3 x"): "Groups", replace("NoNewPrivs:\t1", "NoNewPrivs:\t2"): "NoNewPrivs", replace("NoNewPrivs:\t1\n", ""): "NoNewPrivs",
		status[:len(status)-40]: "NoNewPrivs", status + "CapEff:\t0000000000000000\n": "CapEff",
	} {
		_, err := parseStatus(text)
		if e, ok := errors.AsType[*statusError](err); !ok || e.Field != field || !strings.Contains(err.Error(), "malformed") || e.Value == "" && strings.Contains(text, "zz") {
			t.Errorf("%.80q: %v", text, err)
		}
	}
	for _, text := range []string{"", "\x00\xff", strings.Repeat("\n:", 1<<16)} {
		if _, err := parseStatus(text); err == nil {
			t.Errorf("%.80q was taken", text)
		}
	}
	// A process can call itself what it likes; it cannot add a field.
	if s, err := parseStatus(replace("Name:\tx", `Name:	x\nCapPrm:	ffff`)); err != nil || s.Permitted != 0x8000200000001000 || s.Groups != ambient.NewGroups(3, 4) {
		t.Errorf("%v %v", s, err)
	}
}

func FuzzStatus(f *testing.F) {
	f.Add(status)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStatus(text)
		var e *statusError
		if err != nil && (!errors.As(err, &e) || e.Field == "" || s != (ambient.State{})) {
			t.Error(s, err)
		}
	})
}

func TestStepsThatDifferInTheCapabilityAreOneLine(t *testing.T) {
	got := steps([]ambient.Step{ambient.DropBounding{Cap: 0}, ambient.DropBounding{Cap: 1}, ambient.SetKeepCaps{}, ambient.RaiseAmbient{Cap: 12}, ambient.RaiseAmbient{Cap: 45}, ambient.SetNoNewPrivs{}})
	want := "prctl PR_CAPBSET_DROP chown dac_override|prctl PR_SET_KEEPCAPS 1|prctl PR_CAP_AMBIENT_RAISE net_admin 45|prctl PR_SET_NO_NEW_PRIVS 1"
	if strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
}

// A pipe whose reader has gone is an error, not a success. What is found counts more than that it cannot be written.
func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	for args, want := range map[string]int{
		"show": 125, "show --json": 125, "version": 125, "version --json": 125, "explain --for=docker -u 1:1": 125,
		"check --allow=all --json": 125, "--help": 125, "check --allow=none --json": 78,
	} {
		a, _, stderr := on(ambient.State{Permitted: ambient.SetOf(12)})
		a.stdout = failing{}
		if code := a.main(append([]string{"caplaunch"}, strings.Fields(args)...)); code != want || !strings.Contains(stderr.String(), "error") {
			t.Errorf("%s: %d %s", args, code, stderr)
		}
	}
}

func TestASkippedCapabilityIsNamed(t *testing.T) {
	var b bytes.Buffer
	(&reporter{w: &b, json: true}).skipped(ambient.Miss{Cap: 12, Reason: ambient.NotGranted})
	if !strings.HasSuffix(b.String(), `,"capability":["net_admin"]}`+"\n") {
		t.Error(b.String())
	}
	b.Reset()
	if (&reporter{w: &b, json: true}).fail(&failure{msg: "a<b", hint: "c && d"}); !strings.Contains(b.String(), `"msg":"a<b","hint":"c && d"`) {
		t.Error(b.String())
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWhatOldDockerRefusesIsToldWhereItMayBeDocker(t *testing.T) {
	for place, want := range map[grant.Place]bool{grant.Docker: true, grant.Unknown: true, grant.Podman: false, grant.Systemd: false} {
		h := &hinter{surroundings: surroundings{place: place}}
		for _, c := range []ambient.Cap{ambient.CapBPF, ambient.CapPerfmon, ambient.CapCheckpointRestore} {
			name := strings.ToUpper(c.String())
			if got := h.grantLine(grant.Grant{Caps: ambient.SetOf(c)}); strings.Contains(got, "Docker 20.10 refuses "+name+", Docker 23 and Podman 4 know it") != want {
				t.Errorf("%v: %q", place, got)
			}
		}
	}
}

// A note does not stand in front of the two lines of a failure.
func TestAGrantThatFailsIsTwoLines(t *testing.T) {
	for args, want := range map[string]int{"explain --for=docker": 1, "explain --for=docker -q": 0, "explain --for=docker -c nope": 2, "explain --for=docker --allow=chown -c kill": 2} {
		a, _, stderr := on(ambient.State{})
		a.main(append([]string{"caplaunch"}, strings.Fields(args)...))
		if got := strings.Count(stderr.String(), "\n"); got != want {
			t.Errorf("%s: %s", args, stderr)
		}
	}
}

// starts are the states that the fuzzer starts from.
var starts = []ambient.State{
	{Permitted: docker, Effective: docker, Bounding: docker},
	{Permitted: ambient.NamedCaps, Effective: ambient.NamedCaps, Bounding: ambient.NamedCaps},
	{UID: ambient.Same(65532), GID: ambient.Same(65532), Bounding: docker},
	{UID: ambient.Same(65532), GID: ambient.Same(65532), Bounding: docker, Permitted: admin, Inheritable: admin, Effective: admin, Ambient: admin},
}

const docker, admin = ambient.Set(0xa80425fb) | admin, ambient.Set(1 << 12)

// FuzzRun sends whole command lines through explain on the Sim, which is run that stops in front of the execve:
// whatever they say, the launch ends in exactly the promised state, or there is one error with a hint and a status;
// nothing panics, and JSON is JSON.
func FuzzRun(f *testing.F) {
	for _, words := range []string{
		"--caps=net_admin\n--user=65532:65532\n--\n/bin/true\nx", "-c\nnet_raw\n-u\nroot\n--allow-new-privs\n--bounding=drop\n--\ntrue",
		"-o\nall\n-u1:1\n--strict\n--sets=bounding\n--log-format=json\n--\n/bin/sh", "explain\n-c\n12\n--json\n--\ntrue", "-u\n4294967296\n--\ntrue",
		"--groups=1,2\n--non-root=keep\n--keep-env\n-v\n--log-format=json\n--\n/etc", "--ignore-signals=PIPE,HUP\n--stdio=keep\n-u0:0\n--\ntrue", "--help", "check\n--allow=none\n--json", "show\n--json", "version\n--json",
		"-u\n65532:65532\n--strip-file-caps\n--allow-new-privs\n--bounding=try\n--\ntrue",
	} {
		f.Add(words, uint8(0), "CAPLAUNCH_QUIET=1")
		f.Add(words, uint8(3), "CAPLAUNCH_CAPS=\x00")
	}
	f.Fuzz(func(t *testing.T, words string, start uint8, variable string) {
		args := strings.Split(words, "\n")
		environ := []string{"PATH=/bin:/usr/bin", variable}
		l, err := parse(args, environ, io.Discard)
		switch {
		case slices.Contains(args, "install"):
			return // it writes where the fuzzer says
		case err == nil && l.command == "run":
			args = slices.Concat([]string{"explain"}, l.before, []string{"--"}, l.argv)
		}
		now := starts[int(start)%len(starts)]
		a, stdout, stderr := on(now)
		a.environ = environ
		code := a.main(append([]string{"caplaunch"}, args...))
		judgeLines(t, stderr.String(), code)
		got := a.one.(*simulated).Now
		launches := err == nil && (l.command == "run" || l.command == "explain" && l.Explain.For == "")
		switch {
		case code == 0 && launches:
			flags := l.flags()
			given := got.Permitted
			if got.Effective != given || got.Inheritable != given || got.Ambient != given || got.UID != ambient.Same(got.UID.Real) || got.GID != ambient.Same(got.GID.Real) ||
				!now.Permitted.Contains(given) || !got.NoNewPrivs && !flags.AllowNewPrivs {
				t.Fatalf("ends in %+v: %q", got, args)
			}
			if asked, err := flags.ask(l.sources); err != nil || !given.Contains(asked.req.Required.Resolve(thisHost)) || asked.user != nil && asked.user.User.Numeric && !asked.req.KeepNonRoot && got.UID.Real != asked.user.User.ID {
				t.Fatalf("ends in %+v without what was asked: %q, %v", got, args, err)
			}
		case code == exitNotGranted, code == exitUnexpected, !launches:
			if got != now {
				t.Fatalf("refused, and changed: %q\n%s%s", args, stdout, stderr)
			}
		}
	})
}

// judgeLines wants caplaunch's own lines on stderr, with one error at most, which is told in full.
func judgeLines(t *testing.T, text string, code int) {
	t.Helper()
	asJSON, errorsSeen := strings.HasPrefix(text, "{"), 0
	for line := range strings.Lines(text) {
		var r record
		switch {
		case asJSON:
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("not JSON: %q: %v", line, err)
			}
			if r.Level == "error" {
				errorsSeen++
				if r.Msg == "" || r.Hint == "" || r.Code != code {
					t.Fatalf("incomplete: %q", line)
				}
			}
		case strings.HasPrefix(line, "caplaunch: error: "):
			errorsSeen++
		case !strings.HasPrefix(line, "caplaunch: "):
			t.Fatalf("a line of nobody's: %q", line)
		}
	}
	if errorsSeen > 1 || errorsSeen == 1 && code == 0 {
		t.Fatalf("status %d with %d errors:\n%s", code, errorsSeen, text)
	}
}

// Whatever is in an error, it is two plain lines, or one object of JSON.
func TestLinesArePlain(t *testing.T) {
	a, _, _ := on(ambient.State{})
	for _, word := range []string{"a\nb", "\x00\xff", "\u2028", "\x1b[2J\r", "</script>", "é"} {
		for _, err := range []error{usagef(word, "%s", word), errors.New(word)} {
			for _, asJSON := range []bool{false, true} {
				var b bytes.Buffer
				(&reporter{w: &b, json: asJSON}).fail(a.inWords(err))
				if lines := bytes.Count(b.Bytes(), []byte("\n")); asJSON != json.Valid(b.Bytes()) || asJSON != (lines == 1) || lines > 2 || bytes.ContainsAny(b.Bytes(), "\x00\x1b\r") {
					t.Errorf("%q: %q", word, b.Bytes())
				}
			}
		}
	}
}
