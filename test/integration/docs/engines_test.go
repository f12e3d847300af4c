package docs

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// part writes text between <!-- name --> and <!-- end --> of docs/engines.md, with -update, or finds it there.
func part(t *testing.T, name, text string) {
	t.Helper()
	if release, _ := os.ReadFile("/etc/os-release"); !strings.Contains(string(release), "VERSION_CODENAME=bookworm") {
		engine.Unusable(t, "the page is about the engines of Debian 12")
	}
	path := filepath.Join(engine.Root, "docs/engines.md")
	all := engine.Read(t, path)
	before, rest, ok := strings.Cut(all, "<!-- "+name+" -->\n")
	is, after, ok2 := strings.Cut(rest, "<!-- end -->\n")
	switch {
	case !ok || !ok2:
		t.Fatalf("docs/engines.md has no part %q", name)
	case *update:
		engine.Must(t, os.WriteFile(path, []byte(before+"<!-- "+name+" -->\n"+text+"<!-- end -->\n"+after), 0o644))
	case is != text:
		t.Errorf("docs/engines.md says\n%s\nbut it is\n%s\nmake docs writes it", is, text)
	}
}

// version is that of a Debian package, as far as a release of Debian keeps it.
func version(t *testing.T, pkg string) string {
	t.Helper()
	engine.Require(t, "dpkg-query")
	r := engine.Do(t, "dpkg-query", "-W", "-f", "${Version}", pkg)
	return regexp.MustCompile(`^(?:\d+:)?(\d{3}|\d+\.\d+)`).FindStringSubmatch(r.Stdout)[1]
}

// A kind is an engine, and the flags that it is given: each makes a line of the table. It runs argv in an image or a root
// that has /caplaunch.
type kind struct {
	name  string
	flags []string
	run   func(t testing.TB, flags []string, argv ...string) engine.Result
}

// engines are all, and Kubernetes as test/kubernetes has recorded it.
func engines(t *testing.T) []kind {
	img := engine.ScratchImage("caplaunch.test/engines:1", map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t))})
	root := engine.GuestRoot(t)
	dockerlike := func(name string, load func(testing.TB, engine.Image) string, run func(testing.TB, string, []string, ...string) engine.Result, more ...string) kind {
		return kind{name, []string{"--cap-add=NET_ADMIN", "--cap-add=NET_ADMIN --user=65532:65532"}, func(t testing.TB, flags []string, argv ...string) engine.Result {
			return run(t, load(t, img), append(flags, more...), argv...)
		}}
	}
	before := func(words ...string) func(testing.TB, []string, ...string) engine.Result {
		return func(t testing.TB, flags []string, argv ...string) engine.Result {
			engine.Require(t, words[0])
			return engine.Exec(t, slices.Concat(words, flags, argv)...)
		}
	}
	docker, d, remapped := "Docker "+version(t, "docker.io"), engine.TheDocker(t), engine.TheRemappedDocker(t)
	podman, asRoot, rootless := "Podman "+version(t, "podman"), engine.ThePodman(t), engine.TheRootlessPodman(t)
	bubblewrap, bwrap := "bubblewrap "+version(t, "bubblewrap"), []string{"bwrap", "--ro-bind", root, "/", "--proc", "/proc"}
	s := engine.TheSystemd(t)
	var recorded map[string]map[string]engine.Result
	engine.Must(t, json.Unmarshal([]byte(engine.Read(t, "testdata/kubernetes.json")), &recorded))
	for name, pkgVersion := range gVisors {
		script := engine.Write(t, name, "#!/bin/sh\nexec "+engine.Install(t, "gvisor.dev/gvisor/runsc", pkgVersion)+" --network=none --ignore-cgroups \"$@\"\n")
		engine.Must(t, engine.CopyFile(filepath.Join(engine.PublicDir(), name), script, 0o755))
	}
	return []kind{
		dockerlike(docker, d.Load, d.Run),
		dockerlike(docker+", userns-remap", remapped.Load, remapped.Run),
		dockerlike(docker+", crun "+version(t, "crun"), d.Load, d.Run, "--runtime=crun"),
		dockerlike(docker+", gVisor of September 2026", d.Load, d.Run, "--runtime=gvisor"),
		dockerlike(docker+", gVisor of May 2026", d.Load, d.Run, "--runtime=gvisor-old"),
		dockerlike(podman+" as root", asRoot.Load, asRoot.Run),
		dockerlike(podman+" as a user", rootless.Load, rootless.Run),
		{"Kubernetes 1.37, containerd 2.4", slices.Sorted(maps.Keys(recorded)), func(t testing.TB, flags []string, argv ...string) engine.Result {
			return recorded[strings.Join(flags, " ")][argv[1]]
		}},
		{"systemd " + version(t, "systemd-container"), []string{"", "User=65532 AmbientCapabilities=CAP_NET_ADMIN"}, s.RunUnit},
		{"systemd-nspawn " + version(t, "systemd-container"), []string{"", "--user=app", "--user=app --ambient-capability=CAP_NET_ADMIN"}, func(t testing.TB, flags []string, argv ...string) engine.Result {
			return engine.Nspawn(t, root, flags, argv...)
		}},
		{"LXC " + version(t, "lxc"), []string{"", "lxc.init.uid=65532 lxc.init.gid=65532"}, func(t testing.TB, keys []string, argv ...string) engine.Result {
			return engine.LXC(t, root, strings.Join(keys, "\n")+"\n", argv...)
		}},
		{bubblewrap + " as root", []string{""}, before(bwrap...)},
		{bubblewrap + " as a user", []string{"--uid 65532 --gid 65532 --cap-add CAP_NET_ADMIN"}, before(append([]string{"setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"}, append(bwrap, "--unshare-user")...)...)},
		{"unshare " + version(t, "util-linux"), []string{"-Ur", "-U --map-user=65532 --map-group=65532 --keep-caps"}, func(t testing.TB, flags []string, argv ...string) engine.Result {
			here := strings.ReplaceAll(strings.Join(argv, " "), "/caplaunch", engine.Caplaunch(t))
			return engine.Exec(t, slices.Concat([]string{"unshare"}, flags, strings.Fields(here))...)
		}},
	}
}

// gVisors are the runtimes of the Docker daemon that are a gVisor: the older one has no ambient capabilities.
var gVisors = map[string]string{
	"gvisor": "v0.0.0-20260905035102-160fafc42237", "gvisor-old": "v0.0.0-20260527191743-a81fd9dd382e",
}

// show reads what caplaunch show --json prints.
func show(t *testing.T, r engine.Result) (s engine.State) {
	t.Helper()
	engine.Decode(t, r.Ran(t).Stdout, &s)
	return s
}

// few is a set in few words. What is not said otherwise has NET_ADMIN in it.
func few(set, all []string) string {
	words := fmt.Sprint(len(set))
	missing := slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(set, c) })
	switch {
	case len(set) == 0:
		return "–"
	case len(set) < 4:
		return strings.Join(set, ", ")
	case len(missing) == 0:
		words = "all"
	case len(missing) < len(set):
		words = fmt.Sprintf("all but %d", len(missing))
	}
	if !slices.Contains(set, "net_admin") {
		words += ", not net_admin"
	}
	return words
}

// The table of docs/engines.md: what each engine starts a program with, and what caplaunch does there.
func TestEngines(t *testing.T) {
	all := show(t, engine.Exec(t, engine.Caplaunch(t), "show", "--json")).Bounding
	var said []string // by those that refuse
	table := "| engine | started with | uid | permitted, effective | inheritable | ambient | bounding | no_new_privs | caplaunch |\n" + strings.Repeat("| --- ", 9) + "|\n"
	for _, k := range engines(t) {
		all := all
		if strings.HasPrefix(k.name, "systemd ") { // all that it has itself: it runs in nspawn
			all = show(t, engine.TheSystemd(t).Cmd(t, "/caplaunch", "show", "--json", "1")).Bounding
		}
		for _, flags := range k.flags {
			t.Run(k.name+" "+flags, func(t *testing.T) {
				now := show(t, k.run(t, strings.Fields(flags), "/caplaunch", "show", "--json"))
				if !slices.Equal(now.Permitted, now.Effective) {
					t.Errorf("not all is effective: %+v", now)
				}
				r := k.run(t, strings.Fields(flags), "/caplaunch", "--caps=net_admin", "--user=65532:65532", "--", "/caplaunch", "show", "--json")
				does := "runs"
				if r.Code == 0 {
					admin, id := []string{"net_admin"}, engine.IDs{Real: 65532, Effective: 65532, Saved: 65532}
					s := show(t, r)
					want := engine.State{UID: id, GID: id, NoNewPrivs: true, Permitted: admin, Effective: admin, Inheritable: admin, Ambient: admin}
					want.Groups, want.Securebits, want.Bounding = s.Groups, s.Securebits, s.Bounding
					if !reflect.DeepEqual(s, want) {
						t.Errorf("it runs with %+v", s)
					}
				} else {
					_, why, _ := strings.Cut(r.Stderr, engine.ErrorPrefix)
					why, _, _ = strings.Cut(why, "\n")
					if why == "" || r.Stdout != "" {
						t.Fatal(r)
					}
					if !slices.Contains(said, why) {
						said = append(said, why)
					}
					does = fmt.Sprintf("status %d (%c)", r.Code, 'a'+slices.Index(said, why))
				}
				if flags = "`" + flags + "`"; flags == "``" {
					flags = "–"
				}
				table += fmt.Sprintf("| %s | %s | %d | %s | %s | %s | %s | %s | %s |\n", k.name, flags, now.UID.Real,
					few(now.Permitted, all), few(now.Inheritable, all), few(now.Ambient, all), few(now.Bounding, all), map[bool]string{true: "yes", false: "no"}[now.NoNewPrivs], does)
			})
		}
	}
	table += "\n"
	for i, why := range said {
		table += fmt.Sprintf("* (%c) `%s`\n", 'a'+i, why)
	}
	if !t.Failed() {
		part(t, "engines", table)
	}
}
