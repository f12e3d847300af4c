package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// image has caplaunch and the probe, and no extended attribute.
func image(t testing.TB) engine.Image {
	return engine.ScratchImage("caplaunch.test/launch:1", map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t)), "/probe": engine.File(engine.Probe(t))})
}

// admin are the flags of most launches: NET_ADMIN for uid 65532. granted is what comes of them.
var (
	admin   = []string{"--caps=net_admin", "--user=65532:65532"}
	granted = engine.Promised("65532", engine.NetAdmin)
)

// The rows of the table of starting states, each on the real thing; the plain ones are docs/engines.md. Where the hints lead of those that are refused is
// TestHintsWorkWhenPasted's.
func TestStartingStatesInTheirEngines(t *testing.T) {
	engine.RequireRoot(t)
	words := strings.Fields
	pid1 := granted.With("pid", "1")
	type row struct {
		attempt
		find engine.Promise // nil: it is refused
		code int
		says string
	}
	rows := []row{
		{attempt{place: "docker", args: words("--user=1000680000:0 --cap-drop=ALL"), flags: words("-o net_admin -u 65532:65532 --non-root=keep")}, engine.Promised("1000680000:0", 0).With("Groups", "*"), 0, ""},
		{attempt{place: "systemd", args: []string{"CapabilityBoundingSet=CAP_NET_ADMIN CAP_SETUID CAP_SETGID", "NoNewPrivileges=yes"}, flags: admin}, granted, 0, ""},
		{attempt{place: "systemd", args: []string{"User=65532", "Group=65532", "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"}, flags: admin}, granted, 0, ""},
		{attempt{place: "systemd", args: []string{"CapabilityBoundingSet=CAP_SETUID CAP_SETGID"}, flags: admin}, nil, engine.NotGranted, "CapabilityBoundingSet="},
		// What no engine here makes any more: Docker before 20.10.14; CRI-O, privileged and not root.
		{attempt{place: "hand", args: words("-b 10c0 -i 10c0"), flags: admin}, granted, 0, ""},
		{attempt{place: "hand", args: words("-p 1fffeffffff -i 1fffeffffff -a 1fffeffffff"), flags: admin}, granted, 0, ""},
		{attempt{place: "hand", args: words("-u 65532 -g 65532 -G 65532 -i 10c0 -b 10c0"), flags: admin}, nil, engine.NotGranted, "only to the bounding set"},
	}
	for bits, says := range map[string]string{"1": "noroot", "20": "keep_caps_locked", "40": "no_cap_ambient_raise"} {
		rows = append(rows, row{attempt{place: "hand", args: []string{"-s", bits}, flags: admin}, nil, engine.NotGranted, says})
	}
	for _, bits := range []string{"4", "c", "8", "80"} { // no_setuid_fixup and harmless locks
		rows = append(rows, row{attempt{place: "hand", args: []string{"-s", bits}, flags: admin}, granted.With("securebits", bits), 0, ""})
	}
	for _, place := range []string{"docker", "podman", "rootless"} {
		rows = append(rows,
			row{attempt{place: place, args: words("--cap-drop=ALL --cap-add=NET_ADMIN --cap-add=SETUID --cap-add=SETGID --security-opt=no-new-privileges --read-only"), flags: admin}, pid1, 0, ""},
			row{attempt{place: place, args: words("--cap-drop=ALL --cap-add=NET_ADMIN --cap-add=SETGID"), flags: admin}, nil, engine.Failure, "setuid"},
			row{attempt{place: place, args: words("--cap-drop=ALL --cap-add=NET_ADMIN --cap-add=SETUID"), flags: admin}, nil, engine.Failure, "setgid"},
			row{attempt{place: place, flags: admin}, nil, engine.NotGranted, "NET_ADMIN"})
		if place != "docker" {
			rows = append(rows, row{attempt{place: place, args: words("--user=65532:65532 --cap-add=NET_ADMIN,NET_RAW"), flags: admin}, pid1, 0, ""})
		}
	}
	for _, r := range rows {
		t.Run(fmt.Sprintf("%s %q %d", r.place, r.args, r.code), func(t *testing.T) {
			if got := r.run(t); r.find != nil {
				r.find.Want(t, got)
			} else if s := engine.Refused(t, got, r.code); !strings.Contains(s.Msg+s.Hint, r.says) {
				t.Errorf("%q is not named in %+v", r.says, s)
			}
		})
	}
}

// hostile are words before "--" that must be refused before anything happens: as the user, as groups, and beside a user.
var hostile = struct{ users, groups, others []string }{
	[]string{
		"", ":", "0:", ":0", "4294967295", "4294967296", "4294967296:4294967296", "-1", "+5", "0x1", " 1", "1 ", "1:2:3", "65532:4294967295", "65532:-1",
		"1e3", "00", "18446744073709551616", "2147483648", "nosuchuser", "65532:nosuchgroup", "99999", "0\n",
	},
	[]string{"", "4294967296", "-1"},
	[]string{
		"-c=net_amdin", "-cCAP_CAP_NET_ADMIN", "-c64", "-c-1", "-c0x0c", "--caps=", "-c,", "-cnet_admin;id", "-cnet_admin+ep", "-obogus",
		"--non-root=maybe", "--bounding=some", "--nosuchflag",
	},
}

// changing is a call of those that are traced, but for a question that the kernel refuses: setgroups of too many.
var changing = regexp.MustCompile(`(?m)^\d+ +\w+\([^\n]*`)

const question = "setgroups(65537, NULL)"

func TestHostileWordsAreRefusedBeforeAnythingChanged(t *testing.T) {
	engine.RequireRoot(t, "strace")
	lines := [][]string{{"-u"}, {}}
	for _, u := range hostile.users {
		lines = append(lines, []string{"-u", u}, []string{"--user=" + u})
	}
	for _, g := range hostile.groups {
		lines = append(lines, []string{"-u", "1:1", "--groups=" + g})
	}
	for _, o := range hostile.others {
		lines = append(lines, []string{"-u", "1:1", o})
	}
	for _, words := range lines {
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

// What stands behind the first "--" is the program's, whatever its name looks like.
func TestAProgramMayHaveTheNameOfAFlag(t *testing.T) {
	engine.RequireRoot(t)
	dir := engine.TempDir(t)
	for _, name := range []string{"check", "--user", "-h", "--", "explain", "run", "a b", "ü"} {
		engine.Must(t, engine.CopyFile(filepath.Join(dir, name), engine.Probe(t), 0o755))
		cmd := exec.Command(engine.Caplaunch(t), "-u", "65532:65532", "--", name, "--", "-h", "")
		cmd.Env = []string{"PATH=" + dir}
		engine.Promise{"argc": "4", "arg0": name, "arg1": "--", "arg2": "-h", "arg3": ""}.Want(t, engine.Command(t, cmd))
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

// A stderr that nobody reads changes neither the launch nor the exit status.
func TestABrokenStderrChangesNothing(t *testing.T) {
	engine.RequireRoot(t)
	probe := engine.Probe(t)
	for line, code := range map[string]int{
		"-u 5:5 -o 62 -- " + probe: 0, "-v -u 5:5 -- " + probe: 0, "-u 5:5 -- /nope": 127, "-c 62 -u 5:5 -- " + probe: 77,
		"check --allow=none": 78, "--nonsense -- " + probe: 125,
	} {
		for _, pipe := range [][]string{nil, {"-I", "13"}} { // SIGPIPE as it is by default, and ignored
			r, w, err := os.Pipe()
			engine.Must(t, err)
			r.Close()
			cmd := engine.StartCommand(t, pipe, append([]string{engine.Caplaunch(t)}, strings.Fields(line)...)...)
			cmd.Stderr = w
			err = cmd.Run()
			w.Close()
			if got := cmd.ProcessState.ExitCode(); got != code {
				t.Errorf("%s, %q: %v, want exit status %d", line, pipe, err, code)
			}
		}
	}
}
