package words

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// These are set-ups of users that fell short once: the launch worked, and what came after it did not. Each is made anew
// in its engine, the words are followed, and what PROGRAM is for has to work.

// server says that it is ready, and ends with status 7 on TERM.
const server = `trap 'echo stopping; exit 7' TERM; echo ready; while :; do sleep 1 & wait $!; done`

// stopped starts a server, stops it by docker stop, which waits for some seconds, and tells whether its handler for TERM
// ran.
func stopped(t testing.TB, d *engine.Docker, seconds string, flags, argv []string) bool {
	t.Helper()
	id := background(t, d, slices.Concat(flags, argv)...)
	if !engine.Await(func() bool { return strings.Contains(d.Cmd(t, "logs", id).Stdout, "ready") }) {
		t.Fatal(d.Cmd(t, "logs", id))
	}
	d.Cmd(t, "stop", "-t", seconds, id)
	code := strings.TrimSpace(d.Cmd(t, "inspect", "-f", "{{.State.ExitCode}}", id).Stdout)
	return strings.Contains(d.Cmd(t, "logs", id).Stdout, "stopping") && code == "7"
}

// The init that stands in front of caplaunch is root without KILL. explain says so, and either way that it names lets
// docker stop reach PROGRAM.
func TestAnInitReachesTheProgram(t *testing.T) {
	d, img := docker(t)
	grant := strings.Fields(grantFor(t, "docker", want{flags: "-c net_admin -u 65532:65532"}))
	launch := admin[: len(admin)-1 : len(admin)-1]
	program := []string{"/bin/sh", "-c", server}
	for name, front := range map[string]struct{ flags, argv []string }{
		"docker run --init":   {[]string{"--init"}, nil},
		"tini":                {nil, []string{"/tini", "--"}},
		"a shell with a trap": {nil, []string{"/bin/sh", "-c", `trap 'kill -TERM $p' TERM; "$@" & p=$!; wait $p; wait $p`, "sh"}},
	} {
		t.Run(name, func(t *testing.T) {
			flags := slices.Concat(grant, front.flags)
			if stopped(t, d, "2", flags, slices.Concat([]string{img}, front.argv, launch, program)) {
				t.Fatal("it works without the hint")
			}
			var x explanation
			engine.Decode(t, d.Run(t, img, flags, slices.Concat(front.argv, []string{"/caplaunch", "explain", "--json"}, launch[1:], program)...).Stdout, &x)
			if notes := strings.Join(x.Notes, "\n"); !strings.Contains(notes, "is root without KILL") || !strings.Contains(notes, "put it behind --") {
				t.Errorf("%q", notes)
			}
			flags = slices.Concat(strings.Fields(x.Grant), front.flags)
			if !stopped(t, d, "60", flags, slices.Concat([]string{img}, front.argv, launch, program)) {
				t.Errorf("not with %s", x.Grant)
			}
			// --strict lets that grant pass.
			r := d.Run(t, img, flags, slices.Concat(front.argv, []string{"/caplaunch", "--strict"}, launch[1:], []string{"/probe"})...)
			engine.Promised("65532", engine.NetAdmin).Want(t, r)
		})
	}
	for name, argv := range map[string][]string{"process 1": program, "behind --": append([]string{"/tini", "--"}, program...)} {
		t.Run(name, func(t *testing.T) {
			if !stopped(t, d, "60", grant, slices.Concat([]string{img}, launch, argv)) {
				t.Error("not stopped by its own handler")
			}
		})
	}
}

// A program that finds its libraries by $ORIGIN cannot run as a copy: neither is one offered, nor made.
func TestProgramsThatLookBesideThemselves(t *testing.T) {
	engine.RequireRoot(t, "gcc", "setcap")
	dir := engine.Tree(t, map[string]engine.Src{"/lib": engine.Dir(0o755)})
	build := func(name, source string, flags ...string) {
		engine.Do(t, slices.Concat([]string{"gcc", "-o", filepath.Join(dir, name), engine.Write(t, "source.c", source)}, flags)...)
	}
	build("lib/libbeside.so", "const char *program(void) { return \""+engine.Probe(t)+"\"; }", "-shared", "-fPIC")
	const body = `#include <unistd.h>
extern const char *program(void);
int main(void) { execl(program(), "probe", (char *)0); return 1; }`
	for _, tag := range []string{"--enable-new-dtags", "--disable-new-dtags"} { // RUNPATH, RPATH
		build("java", body, "-L"+dir+"/lib", "-lbeside", "-Wl,-rpath,$ORIGIN/lib,"+tag)
		java := filepath.Join(dir, "java")
		engine.Setcap(t, "cap_net_raw=+ep", java)
		launch := func(flags ...string) engine.Result {
			return start(t, "-b 20c0", slices.Concat([]string{"-c", "net_raw", "-u", "65532:65532"}, flags, []string{"--", java})...)
		}
		if hint := engine.Refused(t, launch(), engine.Failure).Hint; hint != "setcap -r "+java+" in the image" {
			t.Errorf("%q", hint)
		}
		engine.Refused(t, launch("--strip-file-caps"), engine.Failure).Says(t, "$ORIGIN").Hints(t, "setcap -r "+java)
		engine.Do(t, "setcap", "-r", java)
		engine.Promised("65532", 1<<13).Want(t, launch())
	}
}

// Podman keeps the groups of whoever runs it, which cannot be set again where SETGID is missing.
func TestGroupsThatPodmanKeeps(t *testing.T) {
	p := engine.TheRootlessPodman(t)
	img := p.Load(t, image(t))
	run := func(flags ...string) engine.Result {
		cmd := p.Command(slices.Concat([]string{
			"run", "--rm", "--network=none", "--cgroups=disabled", "--runtime=crun", "--user=1000:1000", "--group-add=keep-groups",
			"--cap-add=NET_ADMIN", img, "/caplaunch", "-c", "net_admin", "-u", "1000:1000",
		}, flags, []string{"--", "/probe"})...)
		cmd.Args[slices.Index(cmd.Args, "--clear-groups")] = "--groups=4242"
		return engine.Command(t, cmd)
	}
	if hint := engine.Refused(t, run(), engine.Failure).Hint; hint != "caplaunch --keep-groups" {
		t.Errorf("%q", hint)
	}
	if m := engine.Promised("1000", engine.NetAdmin).With("Groups", "*").Want(t, run("--keep-groups")); !strings.Contains(m["Groups"], "65534") {
		t.Errorf("the group is lost: %q", m["Groups"])
	}
}

// --keep-groups adds to the memberships of a name, as docker run --user --group-add does.
func TestKeptGroupsJoinThoseOfTheUser(t *testing.T) {
	d, img := docker(t)
	args := []string{"--group-add=44001"}
	theirs := engine.ParseProbe(d.Run(t, img, append([]string{"--user=app"}, args...), "/probe").Stdout)["Groups"]
	for flags, want := range map[string]string{"--keep-groups": "44 1000 44001", "--keep-groups --groups=7": "7 1000 44001", "": "44 1000"} {
		r := d.Run(t, img, args, slices.Concat([]string{"/caplaunch", "-v", "-u", "app"}, strings.Fields(flags), []string{"--", "/probe"})...)
		engine.Promised("1000", 0).With("Groups", want).Want(t, r)
		if lost := strings.Contains(r.Stderr, "groups that PROGRAM does not get: 44001"); lost != (flags == "") {
			t.Errorf("%q: %v", flags, r)
		}
		if flags == "--keep-groups" && theirs != want {
			t.Errorf("docker's own are %q", theirs)
		}
	}
}

// A set-uid program is what it is by its file; neither strip nor chmod is the way.
func TestASetUIDProgramIsNotMended(t *testing.T) {
	engine.RequireRoot(t)
	launch := caplaunch(t, "-u", "65532:65532", "--allow-new-privs", "--", engine.Tool(t, "su"), "-c", engine.Probe(t))
	said := engine.Refused(t, launch, engine.Failure)
	if !strings.Contains(said.Hint, "put the program that it would start behind -- itself") || regexp.MustCompile("chmod|strip").MatchString(said.Hint) {
		t.Errorf("%+v", said)
	}
	engine.Promised("65532", 0).With("NoNewPrivs", "0").Want(t, caplaunch(t, behind(t, "-u", "65532:65532", "--allow-new-privs")...))
}

// A container of LXC, and one of nspawn, get lines of their own, which work.
func TestLXCAndNspawnGetTheirOwnLines(t *testing.T) {
	engine.RequireRoot(t)
	root := engine.GuestRoot(t)
	t.Run("lxc", func(t *testing.T) {
		run := func(keys string) engine.Result { return engine.LXC(t, root, keys, admin...) }
		said := engine.Refused(t, run("lxc.init.uid = 65532\nlxc.init.gid = 65532\nlxc.cap.keep = setuid setgid\n"), engine.NotGranted)
		keys, _, _ := strings.Cut(said.Hints(t, "lxc.init.uid = 0 and lxc.init.gid = 0 and lxc.cap.keep = ").Hint, " (")
		engine.Promised("65532", engine.NetAdmin).Want(t, run(strings.ReplaceAll(keys, " and ", "\n")+"\n"))
	})
	t.Run("nspawn", func(t *testing.T) {
		launch := admin
		run := func(flags ...string) engine.Result { return engine.Nspawn(t, root, flags, launch...) }
		said := engine.Refused(t, run("--user=app"), engine.NotGranted).Hints(t, "systemd-nspawn --user=root --capability=")
		flags, _, _ := strings.Cut(said.Hint, " (")
		granted := strings.Fields(flags)[1:]
		engine.Promised("65532", engine.NetAdmin).Want(t, run(granted...))
		// What nspawn grants of its own accord has to be dropped by name.
		launch = slices.Insert(slices.Clone(admin), 1, "--strict")
		said = engine.Refused(t, run(granted...), engine.Unexpected)
		engine.Promised("65532", engine.NetAdmin).Want(t, run(strings.Fields(said.Hints(t, "systemd-nspawn ").Hint)[1:]...))
	})
}

// A unit with a user namespace of its own has no capability of the host: systemd gives them to its User=.
func TestPrivateUsersGetSystemdsWords(t *testing.T) {
	s := engine.TheSystemd(t)
	properties := []string{"PrivateUsers=yes"}
	r := s.RunUnit(t, properties, admin...)
	lines, _, _ := strings.Cut(engine.Refused(t, r, r.Code).Hints(t, "User=65532 and Group=65532 and AmbientCapabilities=CAP_NET_ADMIN").Hint, " (")
	properties = append(properties, strings.Split(lines, " and ")...)
	engine.Promised("65532", engine.NetAdmin).Want(t, s.RunUnit(t, properties, admin...))
}

// The root of a user namespace to which only NET_BIND_SERVICE may be added (hostUsers: false where Kubernetes enforces
// restricted) can stay root, and cannot switch.
func TestRootOfAPodsNamespaceStaysRoot(t *testing.T) {
	engine.RequireRoot(t)
	run := func(options string, words ...string) engine.Result {
		script := fmt.Sprintf(mapped, "0 100000 65536") + `exec nsenter --user --target=$p --setuid=0 --setgid=0 "$@"`
		capstart := append([]string{engine.Capstart(t)}, strings.Fields(options)...)
		return engine.Exec(t, slices.Concat([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "env", "KUBERNETES_SERVICE_HOST=10.0.0.1", "bash", "-ec", script, "bash"},
			capstart, []string{"--", engine.Caplaunch(t)}, behind(t, words...))...)
	}
	for _, options := range []string{"-u 0 -g 0 -G none -b 400", "-u 0 -g 0 -G 0,2000 -b 400"} {
		said := engine.Refused(t, run(options, "-c", "net_bind_service", "-u", "65532:65532"), engine.Failure).Hints(t, "caplaunch --user=0:0")
		hint, why, _ := strings.Cut(said.Hint, ": ")
		if strings.Contains(said.Hint, "SETUID,") || !strings.Contains(why, "takes neither SETUID nor SETGID") {
			t.Fatalf("%+v", said)
		}
		r := run(options, append([]string{"-c", "net_bind_service"}, strings.Fields(hint)[1:]...)...)
		engine.Promised("0", 1<<10).With("Groups", "*").Want(t, r)
	}
	const able = "-u 0 -g 0 -G none -b 4c0"
	engine.Refused(t, run(able, "-c", "net_bind_service", "-u", "70000:70000"), engine.Failure).Hints(t, "an id below 65536")
	engine.Promised("65532", 1<<10).Want(t, run(able, "-c", "net_bind_service", "-u", "65532:65532"))
}

// A place that lacks a capability itself grants nothing, without a word: the hint says what to do then.
func TestWhereTheEnvironmentAroundLacksItToo(t *testing.T) {
	p := engine.ThePodman(t)
	img := p.Load(t, image(t))
	run := func(flags ...string) engine.Result {
		cmd := p.Command(slices.Concat([]string{"run", "--rm", "--network=none", "--cgroups=disabled"}, flags)...)
		cmd.Args = slices.Insert(cmd.Args, slices.Index(cmd.Args, "podman"), "setpriv", "--bounding-set=-sys_time", "--inh-caps=-all", "--")
		return engine.Command(t, cmd)
	}
	launch := []string{img, "/caplaunch", "-c", "sys_time", "-u", "65532:65532", "--", "/probe"}
	hint := engine.Refused(t, run(launch...), engine.NotGranted).Hint
	flags, rest, _ := strings.Cut(strings.TrimPrefix(hint, "podman run "), " (")
	if again := engine.Refused(t, run(append(strings.Fields(flags), launch...)...), engine.NotGranted).Hint; again != hint {
		t.Errorf("%q", again)
	}
	launch = slices.Replace(launch, 2, 4, regexp.MustCompile(`--optional-caps=\S+[^,\s]`).FindString(rest))
	engine.Promised("65532", 0).Want(t, run(append(strings.Fields(flags), launch...)...))
}

// One hint takes the whole start into account.
func TestOneRound(t *testing.T) {
	d, img := docker(t)
	hint := engine.Refused(t, d.Run(t, img, []string{"--cap-drop=ALL"}, "/caplaunch", "--strip-file-caps", "--", "/probe"), engine.Failure).Hint
	flags, rest, _ := strings.Cut(strings.TrimPrefix(hint, "docker run "), "; and caplaunch ")
	user, _, _ := strings.Cut(rest, "; or ")
	r := d.Run(t, img, strings.Fields(flags), slices.Concat([]string{"/caplaunch", "--strip-file-caps"}, strings.Fields(user), []string{"--", "/probe"})...)
	engine.Promised("65532", 0).Want(t, r)
}

// The Dockerfile is built and run as its comment says.
func TestDistrolessExample(t *testing.T) {
	d := engine.TheDocker(t)
	d.Load(t, engine.Distroless("nonroot"))
	text := engine.Read(t, filepath.Join(engine.Root, "examples/distroless/Dockerfile"))
	dir := engine.Tree(t, map[string]engine.Src{"/Dockerfile": engine.Text(text), "/caplaunch": engine.File(engine.Caplaunch(t)), "/relay": engine.File(engine.BuildGo(t, "examples/relay", ""))})
	d.MustBuild(t, dir, false, "caplaunch.test/distroless:1")
	_, line, _ := strings.Cut(text, "docker run ")
	line, _, _ = strings.Cut(line, " relay\n")
	id := background(t, d, append(strings.Fields(strings.ReplaceAll(line, "\\\n#", "")), "caplaunch.test/distroless:1")...)
	const works = "relay: 127.0.0.1:51820 -> 127.0.0.1:51821, mark 51820, uid 65532\n"
	if !engine.Await(func() bool { return d.Cmd(t, "logs", id).Stdout == works }) {
		t.Error(d.Cmd(t, "logs", id))
	}
}
