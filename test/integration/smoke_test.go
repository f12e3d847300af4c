package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

func TestMain(m *testing.M) { engine.Main(m) }

// The capability sets that caplaunch rests on, in hex.
const (
	netAdmin      = 0x1000
	dockerDefault = 0xa80425fb
)

func sets(p, i, e, b, a uint64) string {
	return fmt.Sprintf("P=%x I=%x E=%x B=%x A=%x", p, i, e, b, a)
}

// wantState checks the sets and ids that probe printed.
func wantState(t *testing.T, r engine.Result, uid, sets string) {
	t.Helper()
	m := engine.ParseProbe(r.Stdout)
	if got := engine.Sets(r.Stdout); r.Code != 0 || got != sets || m["Uid"] != strings.TrimSpace(strings.Repeat(uid+" ", 4)) {
		t.Errorf("uid %s: got %q, sets %s, want %s\n%v", uid, m["Uid"], got, sets, r)
	}
}

func TestDockerGivesNonRootOnlyTheBoundingSet(t *testing.T) {
	d := engine.TheDocker(t)
	image := d.Load(t, engine.ProbeImage(t))
	wantState(t, d.Run(t, image, nil, "/probe"), "0", sets(dockerDefault, 0, dockerDefault, dockerDefault, 0))
	withAdmin := uint64(dockerDefault | netAdmin)
	r := d.Run(t, image, []string{"--user=65532:65532", "--cap-add=NET_ADMIN"}, "/probe")
	wantState(t, r, "65532", sets(0, 0, 0, withAdmin, 0))
	if m := engine.ParseProbe(r.Stdout); m["pid"] != "1" || m["Seccomp"] != "2" || m["NoNewPrivs"] != "0" {
		t.Errorf("pid, seccomp, no_new_privs: %v", r)
	}
	r = d.Run(t, image, []string{"--cap-drop=ALL", "--cap-add=NET_ADMIN", "--security-opt=no-new-privileges"}, "/probe", "children")
	wantState(t, r, "0", sets(netAdmin, 0, netAdmin, netAdmin, 0))
}

func TestDockerExitStatus(t *testing.T) {
	d := engine.TheDocker(t)
	image := d.Load(t, engine.ProbeImage(t))
	// Under an init, because the kernel keeps a PID 1 from killing itself.
	for want, args := range map[int][]string{7: {"/probe", "exit", "7"}, 137: {"/probe", "signal", "9"}, 127: {"/none"}} {
		if r := d.Run(t, image, []string{"--init"}, args...); r.Code != want {
			t.Errorf("%v: want %d: %v", args, want, r)
		}
	}
}

func TestDockerBuildsFromScratchByBothBuilders(t *testing.T) {
	d := engine.TheDocker(t)
	files := map[string]engine.Src{"/probe": engine.File(engine.Probe(t)), "/etc/x": engine.Text("hello\n")}
	for _, buildkit := range []bool{false, true} {
		t.Run(fmt.Sprintf("buildkit=%v", buildkit), func(t *testing.T) {
			image := d.BuildScratch(t, "caplaunch.test/scratch:1", files, buildkit)
			wantState(t, d.Run(t, image, nil, "/probe"), "0", sets(dockerDefault, 0, dockerDefault, dockerDefault, 0))
		})
	}
}

// A Dockerfile with a Go stage and a distroless one builds without a network, as long as its modules are the
// product's.
func TestDockerBuildsAGoStageOffline(t *testing.T) {
	d := engine.TheDocker(t)
	d.Load(t, engine.Golang(t, "1.26"))
	d.Load(t, engine.Distroless("nonroot"))
	mod, err := os.ReadFile(filepath.Join(engine.Root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile(filepath.Join(engine.Root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir := engine.Tree(t, map[string]engine.Src{
		"/go.mod":  engine.Text(strings.ReplaceAll(string(mod), " // indirect", "")),
		"/go.sum":  engine.Text(string(sum)),
		"/main.go": engine.Text("package main\n\nimport (\n\t\"os\"\n\n\t\"golang.org/x/sys/unix\"\n)\n\nfunc main() { os.Exit(unix.Getuid() % 256) }\n"),
		"/Dockerfile": engine.Text(`FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -o /out/x .
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/x /x
ENTRYPOINT ["/x"]
`)})
	for _, buildkit := range []bool{false, true} {
		t.Run(fmt.Sprintf("buildkit=%v", buildkit), func(t *testing.T) {
			d.MustBuild(t, dir, buildkit, "caplaunch.test/go:1")
			if r := d.Run(t, "caplaunch.test/go:1", nil); r.Code != 65532%256 {
				t.Errorf("the image's user is not nonroot: %v", r)
			}
		})
	}
}

func TestPodmanGivesNonRootExactlyTheAskedAsAmbient(t *testing.T) {
	for name, podman := range map[string]func(testing.TB) *engine.Podman{
		"rootful": engine.ThePodman, "rootless": engine.TheRootlessPodman,
	} {
		t.Run(name, func(t *testing.T) {
			p := podman(t)
			image := p.Load(t, engine.ProbeImage(t))
			for _, runtime := range []string{"crun", "runc"} {
				args := []string{"--runtime=" + runtime, "--user=65532:65532", "--cap-add=NET_ADMIN"}
				r := p.Run(t, image, args, "/probe")
				b := engine.ParseProbe(r.Stdout)["CapBnd"]
				var bounding uint64
				_, _ = fmt.Sscanf(b, "%x", &bounding)
				wantState(t, r, "65532", sets(netAdmin, netAdmin, netAdmin, bounding, netAdmin))
				if bounding&netAdmin == 0 {
					t.Errorf("%s: NET_ADMIN is not in the bounding set: %v", runtime, r)
				}
			}
			r := p.Run(t, image, []string{"--cap-drop=ALL", "--cap-add=NET_ADMIN"}, "/probe")
			wantState(t, r, "0", sets(netAdmin, 0, netAdmin, netAdmin, 0))
		})
	}
}

func TestCRIGivesNonRootOnlyTheBoundingSet(t *testing.T) {
	c := engine.TheCRI(t)
	image := c.Load(t, engine.ProbeImage(t))
	r := c.Run(t, image, engine.Security{}, []string{"/probe"}, nil, nil)
	wantState(t, r, "0", sets(dockerDefault, 0, dockerDefault, dockerDefault, 0))
	r = c.Run(t, image, engine.Security{
		RunAsUser: engine.ID(65532), RunAsGroup: engine.ID(65532), SupplementalGroups: []int64{2000},
		Add: []string{"NET_ADMIN"}, Drop: []string{"ALL"}, NoNewPrivs: true, ReadOnlyRoot: true,
	}, []string{"/probe"}, []string{"x", ""}, []string{"A=b"})
	wantState(t, r, "65532", sets(0, 0, 0, netAdmin, 0))
	if m := engine.ParseProbe(r.Stdout); m["NoNewPrivs"] != "1" || m["argc"] != "3" || !strings.Contains(m["Groups"], "2000") {
		t.Errorf("no_new_privs, argc, groups: %v", r)
	}
	r = c.Run(t, image, engine.Security{RunAsUser: engine.ID(65532)}, []string{"/probe"}, nil, nil)
	if gid := engine.ParseProbe(r.Stdout)["Gid"]; gid != "0 0 0 0" {
		t.Errorf("runAsUser without runAsGroup: gid %s, want 0", gid)
	}
	if r := c.Run(t, image, engine.Security{}, []string{"/probe"}, []string{"exit", "7"}, nil); r.Code != 7 {
		t.Errorf("want 7: %v", r)
	}
}

func TestImagesTravelBetweenEngines(t *testing.T) {
	d, p, r, c := engine.TheDocker(t), engine.ThePodman(t), engine.TheRootlessPodman(t), engine.TheCRI(t)
	tree := engine.Tree(t, map[string]engine.Src{"/probe": engine.File(engine.Probe(t)), "/Dockerfile": engine.Text("FROM scratch\nCOPY probe /probe\n")})
	check := func(how string, r engine.Result) {
		t.Helper()
		if r.Code != 7 {
			t.Errorf("%s: %v", how, r)
		}
	}
	exit := []string{"/probe", "exit", "7"}

	d.Import(t, tree, "caplaunch.test/imported:1", "ENV A=b")
	check("docker import", d.Run(t, "caplaunch.test/imported:1", nil, exit...))
	saved := d.Save(t, "caplaunch.test/imported:1")
	c.LoadFile(t, saved, "caplaunch.test/imported:1")
	check("CRI", c.Run(t, "caplaunch.test/imported:1", engine.Security{}, exit, nil, nil))
	for name, p := range map[string]*engine.Podman{"podman": p, "rootless podman": r} {
		p.LoadFile(t, saved)
		check(name+" load", p.Run(t, "caplaunch.test/imported:1", nil, exit...))
		p.Import(t, tree, "caplaunch.test/imported:2")
		check(name+" import", p.Run(t, "caplaunch.test/imported:2", nil, exit...))
		if b := p.Build(t, tree, "-t", "caplaunch.test/built:1"); b.Code != 0 {
			t.Errorf("%s build: %v", name, b)
		}
		check(name+" build", p.Run(t, "caplaunch.test/built:1", nil, exit...))
		if b := engine.Command(t, p.Buildah("bud", "-t", "caplaunch.test/built:2", tree)); b.Code != 0 {
			t.Errorf("%s: buildah: %v", name, b)
		}
		check(name+" buildah", p.Run(t, "caplaunch.test/built:2", nil, exit...))
	}
	if b := p.Run(t, p.Load(t, engine.Debian(t)), nil, "sh", "-c", "exit 7"); b.Code != 7 {
		t.Errorf("debian: %v", b)
	}
	if r, err := c.Try(t, c.Load(t, engine.Distroless("nonroot")), engine.Security{}, []string{"/none"}, nil, nil); err == nil {
		t.Errorf("a program that is not there: %v", r)
	}
}

func TestSystemdGivesAUserItsAmbientCapabilities(t *testing.T) {
	s := engine.TheSystemd(t)
	s.Cp(t, engine.Probe(t), "/usr/local/bin/probe", 0o755)
	r := s.RunUnit(t, []string{"User=65532", "Group=65532", "AmbientCapabilities=CAP_NET_ADMIN"}, "/usr/local/bin/probe")
	b := engine.ParseProbe(r.Stdout)["CapBnd"]
	var bounding uint64
	_, _ = fmt.Sscanf(b, "%x", &bounding)
	wantState(t, r, "65532", sets(netAdmin, netAdmin, netAdmin, bounding, netAdmin))

	r = s.RunUnit(t, nil, "/usr/local/bin/probe", "all")
	wantState(t, r, "0", sets(bounding, 0, bounding, bounding, 0))
	if m := engine.ParseProbe(r.Stdout); m["SigIgn"] != "0000000000001000" {
		t.Errorf("systemd ignores SIGPIPE and nothing else: SigIgn %s", m["SigIgn"])
	}
	for want, args := range map[int][]string{7: {"exit", "7"}, 137: {"signal", "9"}} {
		if r := s.RunUnit(t, nil, append([]string{"/usr/local/bin/probe"}, args...)...); r.Code != want {
			t.Errorf("%v: want %d: %v", args, want, r)
		}
	}
	if r := s.RunUnit(t, nil, "/etc/passwd"); r.Code != 203 {
		t.Errorf("not executable: want 203: %v", r)
	}

	s.WriteUnit(t, "smoke.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/bin/probe\n")
	s.Start(t, "smoke.service")
	if state := s.Show(t, "smoke.service", "ActiveState"); state != "active" {
		t.Errorf("smoke.service is %s", state)
	}
	if log := s.Journal(t, "smoke.service"); !strings.Contains(log, "CapPrm=") {
		t.Errorf("journal: %s", log)
	}
}

func TestRuncGivesWhatTheBundleSays(t *testing.T) {
	engine.Require(t, "runc")
	root := engine.Tree(t, map[string]engine.Src{"/probe": engine.File(engine.Probe(t)), "/proc": engine.Dir(0o755), "/dev": engine.Dir(0o755)})
	admin := []string{"CAP_NET_ADMIN"}
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			b := engine.Bundle{Root: root, Args: []string{"/probe"}, Runtime: runtime, ReadOnly: true}
			b.Caps = engine.Granted("CAP_NET_ADMIN", "CAP_SETUID")
			wantState(t, engine.Runc(t, b), "0", sets(0x1080, 0, 0x1080, 0x1080, 0))
			b.UID, b.GID, b.NoNewPrivs = 65532, 65532, true
			wantState(t, engine.Runc(t, b), "65532", sets(0, 0, 0, 0x1080, 0))
			b.Caps.Inheritable, b.Caps.Ambient = admin, admin
			wantState(t, engine.Runc(t, b), "65532", sets(netAdmin, netAdmin, netAdmin, 0x1080, netAdmin))
		})
	}
}

func TestCapstartReachesTheStateItIsTold(t *testing.T) {
	engine.RequireRoot(t)
	probe := engine.Probe(t)
	state := func(options string) engine.Result {
		return engine.Start(t, strings.Fields(options), probe)
	}
	wantState(t, state("-b 10c0 -i 0"), "0", sets(0x10c0, 0, 0x10c0, 0x10c0, 0))
	wantState(t, state("-u 65532 -g 65532 -G none -b 1000"), "65532", sets(0, 0, 0, netAdmin, 0))
	wantState(t, state("-u 65532 -g 65532 -p 1000 -i 1000 -a 1000 -b 1000"), "65532", sets(netAdmin, netAdmin, netAdmin, netAdmin, netAdmin))
	wantState(t, state("-p 1000 -b 10c0 -n"), "0", sets(netAdmin, 0, netAdmin, 0x10c0, 0))
	r := state("-u 0 -G 5-7,9 -s 1 -I 13 -M 10")
	if m := engine.ParseProbe(r.Stdout); m["Groups"] != "5 6 7 9" || m["securebits"] != "1" || m["CapPrm"] != strings.Repeat("0", 16) {
		t.Errorf("groups, securebits: %v", r)
	}
	bare := engine.Tree(t, map[string]engine.Src{"/probe": engine.File(probe)})
	r = engine.Start(t, []string{"-R", bare, "-u", "65532", "-i", "1000", "-a", "1000", "-b", "1000"}, "/probe")
	wantState(t, r, "65532", sets(netAdmin, netAdmin, netAdmin, netAdmin, netAdmin))
	if m := engine.ParseProbe(r.Stdout); m["proc"] != "0" || m["cwd"] != "/" {
		t.Errorf("a root without /proc: %v", r)
	}
	if r := state("-a ffffffffffffffff"); r.Code != 120 {
		t.Errorf("an impossible state: want 120: %v", r)
	}
}

func TestCommandCodes(t *testing.T) {
	probe := engine.Probe(t)
	for want, args := range map[int][]string{3: {"exit", "3"}, 137: {"signal", "9"}} {
		if r := engine.Exec(t, append([]string{probe}, args...)...); r.Code != want {
			t.Errorf("%v: want %d: %v", args, want, r)
		}
	}
}
