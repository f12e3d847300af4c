package words

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	compose "github.com/compose-spec/compose-go/v2/types"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A want is a request and what the program gets when it is granted.
type want struct {
	flags string // of explain and of run
	run   string // more flags of run
	uid   string
	caps  uint64
	add   []string // the grant's capabilities
	nnp   string   // no_new_privs of the program
	spare string   // one that this image could do without
}

var wants = []want{
	{flags: "-c net_admin -u 65532:65532", uid: "65532", caps: engine.NetAdmin, add: []string{"SETGID", "SETUID", "NET_ADMIN"}, nnp: "1"},
	{flags: "-c net_admin,chown,net_raw -u 65532:65532", uid: "65532", caps: engine.NetAdmin | 1<<13 | 1, add: []string{"CHOWN", "SETGID", "SETUID", "NET_ADMIN", "NET_RAW"}, nnp: "1"},
	// A root of another image may have groups to lose, which takes SETGID.
	{flags: "-c net_admin -u 0:0", uid: "0", caps: engine.NetAdmin, add: []string{"SETGID", "NET_ADMIN"}, nnp: "1", spare: "SETGID"},
	{flags: "-c net_admin -u 65532:65532 --bounding=drop", uid: "65532", caps: engine.NetAdmin, add: []string{"SETGID", "SETUID", "SETPCAP", "NET_ADMIN"}, nnp: "1"},
	{flags: "-c net_admin -u 65532:65532 --allow-new-privs", uid: "65532", caps: engine.NetAdmin, add: []string{"SETGID", "SETUID", "NET_ADMIN"}, nnp: "0"},
	{flags: "-c net_admin", run: "-u 65532:65532", uid: "65532", caps: engine.NetAdmin, add: []string{"SETGID", "SETUID", "NET_ADMIN"}, nnp: "1"},
	{flags: "-c net_admin -o net_raw -u 65532:65532", uid: "65532", caps: engine.NetAdmin | 1<<13, add: []string{"SETGID", "SETUID", "NET_ADMIN", "NET_RAW"}, nnp: "1", spare: "NET_RAW"},
	{flags: "-o all -u 65532:65532", uid: "65532", caps: 0xc0, add: []string{"SETGID", "SETUID"}, nnp: "1"},
	{flags: "-u 65532:65532", uid: "65532", add: []string{"SETGID", "SETUID"}, nnp: "1"},
	// Root that keeps its groups stays as it is, unless it is to get others.
	{flags: "-u 0:0 --keep-groups", uid: "0", nnp: "1"},
	{flags: "-u 0:0 --keep-groups --groups=0,7", uid: "0", add: []string{"SETGID"}, nnp: "1"},
}

// grantFor is what explain --for prints.
func grantFor(t testing.TB, place string, w want) string {
	t.Helper()
	r := caplaunch(t, append([]string{"explain", "--for=" + place}, strings.Fields(w.flags)...)...)
	if said := r.Stderr != ""; r.Code != 0 || said != (w.run != "" && !strings.Contains(w.flags, "-u")) {
		t.Fatalf("%s: %v", w.flags, r)
	}
	return r.Stdout
}

func (w want) command() []string {
	return slices.Concat([]string{"/caplaunch"}, strings.Fields(w.flags), strings.Fields(w.run), []string{"--", "/probe"})
}

// The flags that explain prints for docker and podman work, and are the smallest that do: without any one of the
// capabilities run refuses.
func TestFlagsAreTheSmallestThatWork(t *testing.T) {
	d, img := docker(t)
	p := engine.ThePodman(t)
	p.Load(t, image(t))
	for place, run := range map[string]func(args, argv []string) engine.Result{
		"docker": func(args, argv []string) engine.Result { return d.Run(t, img, args, argv...) },
		"podman": func(args, argv []string) engine.Result { return p.Run(t, img, args, argv...) },
	} {
		for i, w := range wants {
			if place == "podman" && i > 4 {
				break
			}
			t.Run(place+" "+w.flags, func(t *testing.T) {
				flags := strings.Fields(grantFor(t, place, w))
				add := slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return !strings.HasPrefix(f, "--cap-add=") })
				if got := strings.ReplaceAll(strings.Join(add, " "), "--cap-add=", ""); got != strings.Join(w.add, " ") {
					t.Errorf("%q", flags)
				}
				engine.Promised(w.uid, w.caps).With("NoNewPrivs", w.nnp, "Groups", "*").Want(t, run(flags, w.command()))
				if (i == 1 || i > 3) && w.spare == "" || place == "podman" && i > 0 {
					return // each run of an engine takes its time
				}
				for _, c := range add {
					r := run(slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == c }), w.command())
					refused := r.Code == 77 || r.Code == 125 && strings.Contains(r.Stderr, "caplaunch: error")
					if refused == (c == "--cap-add="+w.spare) {
						t.Errorf("without %s: %v", c, r)
					}
				}
			})
		}
	}
}

// What explain prints for compose are keys of a service, to compose's own loader and schema, and grant the same.
func TestComposeKeysAreStrictAndSayTheSame(t *testing.T) {
	load := func(keys string) (*compose.Project, error) {
		text := "services:\n  probe:\n    image: probe\n    " + strings.ReplaceAll(strings.TrimSpace(keys), "\n", "\n    ")
		return loader.LoadWithContext(context.Background(), compose.ConfigDetails{
			WorkingDir: t.TempDir(), ConfigFiles: []compose.ConfigFile{{Filename: "compose.yaml", Content: []byte(text)}},
		}, func(o *loader.Options) { o.SetProjectName("words", true) })
	}
	for _, w := range wants {
		project, err := load(grantFor(t, "compose", w))
		engine.Must(t, err)
		s := project.Services["probe"]
		nnp := slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"})
		if s.User != "0:0" || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.CapAdd, w.add) || nnp != (w.nnp == "1") {
			t.Errorf("%s: %+v", w.flags, s)
		}
	}
	if _, err := load("cap_ad: [CHOWN]"); err == nil {
		t.Error("cap_ad is taken for a key")
	}
}

// What explain prints for systemd boots as a drop-in of a unit that says nothing of privilege, and of one that says the
// wrong things.
func TestDropInBoots(t *testing.T) {
	s := engine.TheSystemd(t)
	for i, w := range wants {
		for j, has := range []string{"", "User=65532\nGroup=65532\nCapabilityBoundingSet=CAP_CHOWN CAP_KILL\n"} {
			if j == 1 && i > 0 && !strings.Contains(w.flags, "all") {
				continue // each takes systemd its time
			}
			unit := fmt.Sprintf("words%d-%d.service", i, j)
			out := "/run/" + unit + ".out"
			s.WriteFile(t, "/run/systemd/system/"+unit+".d/grant.conf", grantFor(t, "systemd", w), 0o644)
			s.WriteUnit(t, unit, "[Service]\nType=oneshot\nStandardOutput=file:"+out+"\nExecStart="+strings.Join(w.command(), " ")+"\n"+has)
			r := s.Cmd(t, "systemctl", "start", unit)
			r.Stdout = engine.Read(t, s.Path(out))
			caps := w.caps
			if j == 1 && w.flags == "-o all -u 65532:65532" {
				caps |= 1<<0 | 1<<5 // CapabilityBoundingSet= adds to what stood there
			}
			engine.Promised(w.uid, caps).With("NoNewPrivs", w.nnp, "Groups", "*").Want(t, r)
		}
	}
}

// "all" is every capability, and a user namespace has them all.
func TestAllIsEveryCapability(t *testing.T) {
	engine.RequireRoot(t)
	all := want{flags: "-c all -u 0:0"}
	flags := strings.Fields(grantFor(t, "docker", all))
	if n := len(flags) - 3; n != 41 {
		t.Errorf("%d: %q", n, flags)
	}
	var c core.Container
	if err := yaml.UnmarshalStrict([]byte(grantFor(t, "kubernetes", all)), &c); err != nil || len(c.SecurityContext.Capabilities.Add) != 41 {
		t.Errorf("%v: %+v", err, c.SecurityContext)
	}
	r := engine.Exec(t, slices.Concat([]string{"unshare", "-Ur", engine.Caplaunch(t)}, behind(t, "-c", "all", "-u", "0:0"))...)
	if m := engine.ParseProbe(r.Stdout); r.Code != 0 || m["CapAmb"] == "" || m["CapAmb"] != m["CapBnd"] || m["CapAmb"] != m["CapPrm"] {
		t.Errorf("%v", r)
	}
}

// explain --for needs no privilege, no program and no /proc, and says in JSON what it says in text.
func TestExplainForWorksAnywhere(t *testing.T) {
	engine.RequireRoot(t)
	want := "--user=0:0 --cap-drop=ALL --cap-add=SETGID --cap-add=SETUID --cap-add=NET_ADMIN --security-opt=no-new-privileges\n"
	words := []string{"explain", "--for=docker", "-c", "net_admin", "-u", "nosuchuser"}
	bare := engine.Tree(t, map[string]engine.Src{"/caplaunch": engine.File(engine.Caplaunch(t))})
	for name, r := range map[string]engine.Result{
		"without privilege": start(t, "-u 65532 -g 65532 -G none -b 0 -n", words...),
		"without /proc":     engine.Start(t, []string{"-R", bare, "-u", "65532", "-b", "0"}, append([]string{"/caplaunch"}, words...)...),
		"with a program":    caplaunch(t, append(slices.Clone(words), "--", "/nonexistent")...),
		"in any case":       caplaunch(t, "explain", "--for", "docker", "--caps=CAP_NET_ADMIN", "--user=65532"),
	} {
		if r.Code != 0 || r.Stdout != want || r.Stderr != "" {
			t.Errorf("%s: %v", name, r)
		}
	}
	for _, place := range []string{"docker", "podman", "compose", "kubernetes", "systemd"} {
		var got struct{ Place, Grant string }
		engine.Decode(t, caplaunch(t, "explain", "--json", "--for="+place, "-c", "net_admin", "-u", "1:1").Stdout, &got)
		if text := caplaunch(t, "explain", "--for="+place, "-c", "net_admin", "-u", "1:1").Stdout; got.Place != place || got.Grant != text {
			t.Errorf("%+v, want %q", got, text)
		}
	}
	for _, bad := range []string{"--for=lxc -u 1:1", "--for=docker -c 45 -u 1:1", "--for=docker -c net_amdin -u 1:1", "--for=docker -u 4294967296"} {
		engine.Refused(t, caplaunch(t, append([]string{"explain", "--log-format=json"}, strings.Fields(bad)...)...), engine.Failure)
	}
}

// The grant that explain prints for a person can be pasted from where it stands.
func TestPrintedGrantCanBePasted(t *testing.T) {
	engine.RequireRoot(t)
	first := []string{"env", "container=docker", "unshare", "--pid", "--fork", engine.Caplaunch(t)} // with no parent to signal it
	const request = "-c net_admin,net_raw,chown -u 65532:65532 --bounding=drop"
	words := behind(t, append([]string{"explain"}, strings.Fields(request)...)...)
	_, after, _ := strings.Cut(engine.Exec(t, append(first, words...)...).Stdout, "\ngrant ")
	_, flags, _ := strings.Cut(strings.Replace(after, "--privileged=false ", "", 1), "\n") // what all is granted to looks privileged
	r := engine.Exec(t, "sh", "-c", "echo docker run "+flags)
	if want := "docker run " + grantFor(t, "docker", want{flags: request}); r.Stdout != want {
		t.Errorf("%q\nwant %q", r.Stdout, want)
	}
}
