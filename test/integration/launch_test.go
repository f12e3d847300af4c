package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// files of an image with caplaunch and the probe, and no extended attribute.
func imageFiles(t testing.TB) map[string]engine.Src {
	return map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t))}
}

func image(t testing.TB) engine.Image {
	return engine.ScratchImage("caplaunch.test/launch:1", imageFiles(t))
}

// launch is a command line of caplaunch in the image that requires NET_ADMIN for uid 65532.
var launch = []string{"/caplaunch", "--caps=net_admin", "--user=65532:65532", "--", "/probe"}

// wantPromise checks everything that is promised of uid 65532 with exactly caps.
func wantPromise(t *testing.T, r engine.Result, caps uint64) {
	t.Helper()
	engine.Promised("65532", caps).Want(t, r)
}

// The main job, in an image that each builder made from scratch.
func TestPID1IsTheProgramWithExactlyThePromise(t *testing.T) {
	d := engine.TheDocker(t)
	for _, buildkit := range []bool{false, true} {
		t.Run(fmt.Sprintf("buildkit=%v", buildkit), func(t *testing.T) {
			img := d.BuildScratch(t, "caplaunch.test/main:1", imageFiles(t), buildkit)
			r := d.Run(t, img, []string{
				"--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETUID", "--cap-add=SETGID",
				"--security-opt", "no-new-privileges", "--read-only",
			}, append(launch, "1")...)
			wantPromise(t, r, engine.NetAdmin)
		})
	}
	t.Run("podman", func(t *testing.T) {
		p := engine.ThePodman(t)
		r := p.Run(t, p.Load(t, image(t)), []string{"--user=65532:65532", "--cap-add=NET_ADMIN"}, append(launch, "1")...)
		wantPromise(t, r, engine.NetAdmin)
	})
}

// The rows of the table of starting states, each on the real thing.
func TestStartingStatesInTheirEngines(t *testing.T) {
	type row struct {
		name string
		args []string // of the engine
		cmd  []string // of caplaunch
		caps uint64
		code int // of a refusal; 0 launches
		says string
	}
	with := func(flags ...string) []string {
		return slices.Concat([]string{"/caplaunch"}, flags, []string{"--", "/probe"})
	}
	both := []row{
		{name: "root, default caps and the wanted", args: []string{"--cap-add=NET_ADMIN"}, cmd: launch, caps: engine.NetAdmin},
		{name: "root, drop ALL and the smallest grant", args: []string{"--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETUID", "--cap-add=SETGID"}, cmd: launch, caps: engine.NetAdmin},
		{name: "root without SETUID", args: []string{"--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETGID"}, cmd: launch, code: engine.Failure, says: "setuid"},
		{name: "root without SETGID", args: []string{"--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETUID"}, cmd: launch, code: engine.Failure, says: "setgid"},
		{name: "root, wanted not granted", cmd: launch, code: engine.NotGranted, says: "NET_ADMIN"},
		{name: "non-root, nothing granted, only optional, keep", args: []string{"--user=1000680000:0", "--cap-drop=ALL"}, cmd: with("-o", "net_admin", "-u", "65532:65532", "--non-root=keep"), code: -1},
	}
	check := func(t *testing.T, r engine.Result, c row) {
		t.Helper()
		switch {
		case c.code == -1:
			engine.Promised("1000680000:0", 0).With("Groups", "*").Want(t, r)
		case c.code != 0:
			s := engine.Refused(t, r, c.code)
			if !strings.Contains(s.Msg+s.Hint, c.says) {
				t.Errorf("%q is not named in %+v", c.says, s)
			}
		default:
			wantPromise(t, r, c.caps)
		}
	}
	t.Run("docker", func(t *testing.T) {
		d := engine.TheDocker(t)
		img := d.Load(t, image(t))
		for _, c := range append(both,
			row{name: "non-root with cap-add", args: []string{"--user=65532:65532", "--cap-add=NET_ADMIN"}, cmd: launch, code: engine.NotGranted, says: "only to the bounding set"},
		) {
			t.Run(c.name, func(t *testing.T) { check(t, d.Run(t, img, c.args, c.cmd...), c) })
		}
	})
	for name, podman := range map[string]func(testing.TB) *engine.Podman{"podman": engine.ThePodman, "podman rootless": engine.TheRootlessPodman} {
		t.Run(name, func(t *testing.T) {
			p := podman(t)
			img := p.Load(t, image(t))
			for _, c := range append(both[:5:5],
				row{name: "non-root with cap-add", args: []string{"--user=65532:65532", "--cap-add=NET_ADMIN"}, cmd: launch, caps: engine.NetAdmin},
				row{name: "non-root with more than asked for", args: []string{"--user=65532:65532", "--cap-add=NET_ADMIN,NET_RAW"}, cmd: launch, caps: engine.NetAdmin},
			) {
				t.Run(c.name, func(t *testing.T) { check(t, p.Run(t, img, c.args, c.cmd...), c) })
			}
		})
	}
	t.Run("kubernetes", func(t *testing.T) {
		cri := engine.TheCRI(t)
		img := cri.Load(t, image(t))
		run := func(sec engine.Security, words []string) engine.Result { return cri.Run(t, img, sec, words, nil, nil) }
		wantPromise(t, run(engine.Security{Add: []string{"NET_ADMIN"}}, launch), engine.NetAdmin)
		wantPromise(t, run(engine.Security{Drop: []string{"ALL"}, Add: []string{"NET_ADMIN", "SETUID", "SETGID"}, NoNewPrivs: true, ReadOnlyRoot: true}, launch), engine.NetAdmin)
		s := engine.Refused(t, run(engine.Security{RunAsUser: engine.ID(65532), RunAsGroup: engine.ID(65532), Add: []string{"NET_ADMIN"}}, launch), engine.NotGranted)
		if !strings.Contains(s.Msg, "only to the bounding set") {
			t.Errorf("%+v", s)
		}
		s = engine.Refused(t, run(engine.Security{RunAsUser: engine.ID(65532)}, with("-u", "65532:65532")), engine.Failure)
		if !strings.Contains(s.Hint, "runAsGroup: 65532") {
			t.Errorf("%+v", s)
		}
		r := run(engine.Security{RunAsUser: engine.ID(65532), RunAsGroup: engine.ID(65532), SupplementalGroups: []int64{2000}}, with("-u", "65532:65532", "--keep-groups"))
		if m := engine.Promised("65532", 0).With("Groups", "*").Want(t, r); m["Groups"] != "2000" && m["Groups"] != "2000 65532" {
			t.Errorf("fsGroup: %v", r)
		}
	})
	t.Run("systemd", func(t *testing.T) {
		s := engine.TheSystemd(t)
		s.Cp(t, engine.Caplaunch(t), "/caplaunch", 0o755)
		s.Cp(t, engine.Probe(t), "/probe", 0o755)
		wantPromise(t, s.RunUnit(t, nil, launch...), engine.NetAdmin)
		wantPromise(t, s.RunUnit(t, []string{"CapabilityBoundingSet=CAP_NET_ADMIN CAP_SETUID CAP_SETGID", "NoNewPrivileges=yes"}, launch...), engine.NetAdmin)
		wantPromise(t, s.RunUnit(t, []string{"User=65532", "Group=65532", "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"}, launch...), engine.NetAdmin)
		got := engine.Refused(t, s.RunUnit(t, []string{"CapabilityBoundingSet=CAP_SETUID CAP_SETGID"}, launch...), engine.NotGranted)
		if !strings.Contains(got.Hint, "CapabilityBoundingSet=") {
			t.Errorf("%+v", got)
		}
	})
	// What no engine here makes any more, made by hand.
	t.Run("by hand", func(t *testing.T) {
		engine.RequireRoot(t)
		start := func(options string, words ...string) engine.Result {
			words[0], words[len(words)-1] = engine.Caplaunch(t), engine.Probe(t)
			return engine.Start(t, strings.Fields(options), words...)
		}
		cmd := func() []string { return slices.Clone(launch) }
		wantPromise(t, start("-b 10c0 -i 10c0", cmd()...), engine.NetAdmin)                                      // Docker before 20.10.14
		wantPromise(t, start("-p 1fffeffffff -i 1fffeffffff -a 1fffeffffff", cmd()...), engine.NetAdmin)         // CRI-O, privileged
		s := engine.Refused(t, start("-u 65532 -g 65532 -G 65532 -i 10c0 -b 10c0", cmd()...), engine.NotGranted) // the same, not root
		if !strings.Contains(s.Msg, "only to the bounding set") {
			t.Errorf("%+v", s)
		}
		for bits, says := range map[string]string{"1": "noroot", "20": "keep_caps_locked", "40": "no_cap_ambient_raise"} {
			if s := engine.Refused(t, start("-s "+bits, cmd()...), engine.NotGranted); !strings.Contains(s.Msg+s.Hint, says) {
				t.Errorf("%s: %+v", says, s)
			}
		}
		for _, bits := range []string{"4", "c", "8", "80"} { // no_setuid_fixup and harmless locks
			engine.Promised("65532", engine.NetAdmin).With("securebits", bits).Want(t, start("-s "+bits, cmd()...))
		}
	})
}

// caplaunch that is privileged itself would hand that to whoever calls it, and write where its owner may. What the
// hint says makes it usable.
func TestPrivilegedCaplaunchIsRefused(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "setcap")
	secret := filepath.Join(engine.TempDir(t), "secret")
	engine.Must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	probe := engine.Probe(t)
	for _, change := range []string{"chmod 4755", "chmod 2755", "setcap cap_net_bind_service,cap_setuid,cap_setgid=ep", "setcap cap_dac_override=ep"} {
		t.Run(change, func(t *testing.T) {
			path := engine.Copy(t, engine.Caplaunch(t), 0o755)
			engine.Do(t, append(strings.Fields(change), path)...)
			run := func(words string) engine.Result {
				return engine.Start(t, strings.Fields("-u 65532 -g 65532 -G none"), append([]string{path}, strings.Fields(words)...)...)
			}
			for _, words := range []string{"-u 65532:65532 -o net_bind_service -- " + probe, "-u 0:0 -- " + probe, "-- " + probe, "install " + secret} {
				s := engine.Refused(t, run(words), engine.Failure)
				if !strings.Contains(s.Msg, "to whoever calls it") {
					t.Errorf("%v: %+v", words, s)
				}
			}
			if engine.Read(t, secret) != "secret" {
				t.Error("it wrote what its caller may not")
			}
			hint, _, _ := strings.Cut(engine.Refused(t, run("-o net_admin -- "+probe), engine.Failure).Hint, " (")
			if !strings.HasSuffix(hint, " "+path) {
				t.Fatal(hint)
			}
			engine.Do(t, "sh", "-c", hint)
			engine.Promised("65532", 0).With("Groups", "").Want(t, run("-o net_admin -- "+probe))
		})
	}
}

// In a user namespace the same rules hold, and the messages say that it is one.
func TestUserNamespaces(t *testing.T) {
	engine.Require(t, "unshare")
	run := func(options string, words ...string) engine.Result {
		return engine.Exec(t, slices.Concat([]string{"unshare"}, strings.Fields(options), []string{engine.Caplaunch(t)}, words, []string{"--", engine.Probe(t)})...)
	}
	if r := engine.Exec(t, "unshare", "-Ur", "true"); r.Code != 0 {
		engine.Unusable(t, "no user namespaces here: %v", r)
	}
	r := run("-Ur", "-c", "net_admin", "-u", "0:0")
	engine.Promised("0", engine.NetAdmin).With("Groups", "*").Want(t, r)
	s := engine.Refused(t, run("-Ur", "-c", "net_admin", "-u", "65532:65532"), engine.Failure)
	if !strings.Contains(s.Msg, "user namespace") {
		t.Errorf("%+v", s)
	}
	s = engine.Refused(t, run("-U --map-user=65532 --map-group=65532", "-c", "net_admin", "-u", "65532:65532"), engine.NotGranted)
	if !strings.Contains(s.Msg, "user namespace") {
		t.Errorf("%+v", s)
	}
	// As Podman starts a user that is not root.
	r = run("-U --map-user=65532 --map-group=65532 --keep-caps", "-c", "net_admin", "-u", "65532:65532", "--keep-groups")
	engine.Promised("65532", engine.NetAdmin).With("Groups", "*").Want(t, r)
}

// hostile are words before "--" that must be refused before anything happens.
var hostile = [][]string{
	{"-u", ""},
	{"-u", ":"},
	{"-u", "0:"},
	{"-u", ":0"},
	{"-u", "4294967295"},
	{"-u", "4294967296"},
	{"-u", "4294967296:4294967296"},
	{"-u", "-1"},
	{"--user=-1"},
	{"-u", "+5"},
	{"-u", "0x1"},
	{"-u", " 1"},
	{"-u", "1 "},
	{"-u", "1:2:3"},
	{"-u", "65532:4294967295"},
	{"-u", "65532:-1"},
	{"-u", "1e3"},
	{"-u", "00"},
	{"-u", "18446744073709551616"},
	{"-u", "2147483648"},
	{"-u", "nosuchuser"},
	{"-u", "65532:nosuchgroup"},
	{"-u", "99999"},
	{"-u", "0\n"},
	{"-u", "1:1", "--groups="},
	{"-u", "1:1", "--groups=4294967296"},
	{"-u", "1:1", "--groups=-1"},
	{"-u", "1:1", "-c", "net_amdin"},
	{"-u", "1:1", "-c", "CAP_CAP_NET_ADMIN"},
	{"-u", "1:1", "-c", "64"},
	{"-u", "1:1", "-c", "-1"},
	{"-u", "1:1", "-c", "0x0c"},
	{"-u", "1:1", "-c", ""},
	{"-u", "1:1", "-c", ","},
	{"-u", "1:1", "-c", "net_admin;id"},
	{"-u", "1:1", "-c", "net_admin+ep"},
	{"-u", "1:1", "-o", "bogus"},
	{"-u", "1:1", "--non-root=maybe"},
	{"-u", "1:1", "--bounding=some"},
	{"-u", "1:1", "--nosuchflag"},
	{"-u"},
	{},
}

// changing is a call of those that are traced, but for a question that the kernel refuses: setgroups of too many.
var changing = regexp.MustCompile(`(?m)^\d+ +\w+\([^\n]*`)

const question = "setgroups(65537, NULL)"

func TestHostileWordsAreRefusedBeforeAnythingChanged(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "strace")
	for _, words := range hostile {
		trace := filepath.Join(t.TempDir(), "trace")
		r := engine.Exec(t, slices.Concat([]string{"strace", "-f", "-qqq", "-o", trace, "-e", "trace=capset,setuid,setgid,setresuid,setresgid,setgroups,execve,execveat,fchown,fchmod", engine.Caplaunch(t)},
			words, []string{"--", engine.Probe(t)})...)
		engine.Refused(t, r, engine.Failure)
		data := engine.Read(t, trace)
		// The one is the execve of caplaunch itself.
		calls := slices.DeleteFunc(changing.FindAllString(data, -1), func(c string) bool { return strings.Contains(c, question) })
		if len(calls) != 1 || !strings.Contains(calls[0], " execve(") {
			t.Errorf("%q made calls:\n%s", words, data)
		}
	}
	if len(hostile) < 24 {
		t.Errorf("only %d", len(hostile))
	}
}

// Empty variables count as not set; others as flags, which win.
func TestVariables(t *testing.T) {
	engine.RequireRoot(t)
	run := func(env []string, mode string, words ...string) engine.Result {
		cmd := exec.Command(engine.Caplaunch(t), slices.Concat(words, []string{"--", engine.Probe(t), mode})...)
		cmd.Env = append([]string{"PATH=/bin", "A=1", "HOME=/root", "USER=root"}, env...)
		return engine.Command(t, cmd)
	}
	set := []string{"CAPLAUNCH_CAPS=net_admin", "CAPLAUNCH_USER=65532:65532", "CAPLAUNCH_QUIET=", "CAPLAUNCH_STRICT="}
	wantPromise(t, run(set, "state"), engine.NetAdmin)
	if r := run(set, "env"); r.Stdout != "env0=\"PATH=/bin\"\nenv1=\"A=1\"\nenv2=\"HOME=/\"\nenvc=3\n" {
		t.Errorf("PATH, A and the new HOME alone: %v", r)
	}
	wantPromise(t, run([]string{"CAPLAUNCH_CAPS=chown", "CAPLAUNCH_USER=1:1"}, "state", "--caps=net_admin", "--user=65532:65532"), engine.NetAdmin)
	engine.Refused(t, run([]string{"CAPLAUNCH_USER=", "CAPLAUNCH_CAPS=net_admin"}, "state"), engine.Failure)
	engine.Refused(t, run([]string{"CAPLAUNCH_USER=4294967296"}, "state"), engine.Failure)
}

// The program's status is passed through, all 256 of them, and a signal's too.
func TestExitStatusesPassThrough(t *testing.T) {
	engine.RequireRoot(t)
	c, probe := engine.Caplaunch(t), engine.Probe(t)
	for want := range 256 {
		if r := engine.Exec(t, c, "-u", "65532:65532", "--", probe, "exit", strconv.Itoa(want)); r.Code != want {
			t.Errorf("want %d: %v", want, r)
		}
	}
	if r := engine.Exec(t, c, "-u", "65532:65532", "--", probe, "signal", "9"); r.Code != 128+9 {
		t.Errorf("killed: %v", r)
	}
	for want, program := range map[int]string{126: "/etc/passwd", 127: "/nonexistent"} {
		engine.Refused(t, engine.Exec(t, c, "-u", "65532:65532", "--", program), want)
	}
	engine.Refused(t, engine.Exec(t, c, "-u", "65532:65532", "--", "no-such-program-anywhere"), 127)
}

// What stands behind the first "--" is the program's, whatever it looks like.
func TestArgumentsPassThrough(t *testing.T) {
	engine.RequireRoot(t)
	dir := engine.TempDir(t)
	for _, name := range []string{"check", "--user", "-h", "--", "explain", "run", "a b", "ü"} {
		engine.Must(t, engine.CopyFile(filepath.Join(dir, name), engine.Probe(t), 0o755))
		for _, args := range [][]string{{}, {"x", "--", "-h", "--user", "", "--caps=all", "\x01\xff\n"}} {
			cmd := exec.Command(engine.Caplaunch(t), slices.Concat([]string{"-u", "65532:65532", "--", name}, args)...)
			cmd.Env = []string{"PATH=" + dir}
			r := engine.Command(t, cmd)
			m := engine.ParseProbe(r.Stdout)
			if m["argc"] != strconv.Itoa(1+len(args)) || m["arg0"] != name {
				t.Errorf("%q %q: %v", name, args, r)
			}
			for i, a := range args {
				if got := m[fmt.Sprintf("arg%d", i+1)]; got != a {
					t.Errorf("argument %d is %q, want %q", i+1, got, a)
				}
			}
		}
	}
}

// A root program holds the promise too, and so do its children.
func TestRootProgramKeepsOnlyWhatItWasGiven(t *testing.T) {
	engine.RequireRoot(t)
	c, probe := engine.Caplaunch(t), engine.Probe(t)
	r := engine.Exec(t, c, "-c", "net_admin", "-u", "0:0", "--", probe, "children")
	root := engine.Promised("0", engine.NetAdmin).With("Groups", "*") // as they were
	root.Want(t, r)
	engine.Refused(t, engine.Exec(t, c, "-c", "net_admin", "-u", "0:0", "--allow-new-privs", "--", probe), engine.Failure)
	r = engine.Exec(t, c, "-c", "net_admin", "-u", "0:0", "--allow-new-privs", "--bounding=drop", "--", probe, "children")
	root.With("CapBnd", engine.Mask(engine.NetAdmin), "NoNewPrivs", "0").Want(t, r)
	r = engine.Exec(t, c, "-u", "65532:65532", "-c", "net_admin", "--", probe, "setuid0")
	if !strings.Contains(r.Stdout, "EPERM") && !strings.Contains(r.Stdout, "not permitted") {
		t.Errorf("setuid(0) of the program: %v", r)
	}
}

// On 386 and arm the plain calls take 16-bit ids.
func TestLargeIDsOn32Bit(t *testing.T) {
	engine.RequireRoot(t)
	if runtime.GOARCH != "amd64" {
		engine.Unusable(t, "this test knows the emulators of amd64")
	}
	engine.Require(t, "qemu-arm-static")
	for arch, launcher := range map[string][]string{"386": nil, "arm": {"qemu-arm-static"}} {
		path := engine.BuildGo(t, "cmd/caplaunch", arch)
		if launcher == nil && !engine.Runs(t, path) {
			continue // the oracle's virtual machine runs it
		}
		r := engine.Exec(t, append(launcher, path, "-c", "net_admin,bpf", "-u", "100000:200000", "--groups=300000", "--", engine.Probe(t))...)
		engine.Promised("100000:200000", 1<<39|engine.NetAdmin).With("Groups", "200000 300000").Want(t, r)
	}
}

// A stderr that nobody reads changes neither the launch nor the exit status.
func TestABrokenStderrChangesNothing(t *testing.T) {
	engine.RequireRoot(t)
	probe := engine.Probe(t)
	for line, code := range map[string]int{
		"-u 5:5 -o 62 -- " + probe: 0, "-v -u 5:5 -- " + probe: 0, "-u 5:5 -- /nope": 127, "-c 62 -u 5:5 -- " + probe: 77,
		"check --allow=none": 78, "--nonsense -- " + probe: 125,
	} {
		r, w, err := os.Pipe()
		engine.Must(t, err)
		r.Close()
		// Whatever starts the tests may ignore SIGPIPE, and its children with it.
		cmd := exec.Command(engine.Capstart(t), append([]string{"--", engine.Caplaunch(t)}, strings.Fields(line)...)...)
		cmd.Stderr = w
		err = cmd.Run()
		w.Close()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Errorf("%s: %v, want exit status %d", line, err, code)
		}
	}
}

// Dockerfile.example is built as it is, and its comments are true.
func TestDockerfileExample(t *testing.T) {
	d := engine.TheDocker(t)
	d.Load(t, engine.Golang(t, "1.26"))
	d.Load(t, engine.Distroless("latest"))
	for _, buildkit := range []bool{false, true} {
		t.Run(fmt.Sprintf("buildkit=%v", buildkit), func(t *testing.T) {
			d.MustBuild(t, engine.Root, buildkit, "relay", "-f", filepath.Join(engine.Root, "Dockerfile.example"))
			args := []string{"127.0.0.1:51820", "127.0.0.1:51821"}
			r := d.Run(t, "relay", []string{"--user=65532:65532", "--cap-add=NET_ADMIN", "--entrypoint=/relay"}, args...)
			if r.Code != 1 || !strings.Contains(r.Stderr, "SO_MARK: operation not permitted") {
				t.Errorf("the failing one: %v", r)
			}
			r = d.Cmd(t, "run", "-d", "--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETUID", "--cap-add=SETGID",
				"--security-opt=no-new-privileges", "--read-only", "relay")
			id := strings.TrimSpace(r.Stdout)
			if r.Code != 0 {
				t.Fatal(r)
			}
			defer d.Cmd(t, "rm", "-f", id)
			const want = "relay: 127.0.0.1:51820 -> 127.0.0.1:51821, mark 51820, uid 65532\n"
			if !engine.Await(func() bool { return d.Cmd(t, "logs", id).Stdout == want }) {
				t.Errorf("the working one: %v", d.Cmd(t, "logs", id))
			}
		})
	}
}
