package integration

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// An attempt is a set-up that can be run, found wanting, changed as a hint says, and run again.
type attempt struct {
	place   string   // docker, podman, rootless (podman), systemd, unshare or hand; test/kubernetes has its own
	args    []string // flags of docker, podman, unshare or capstart; properties of a unit
	flags   []string // of caplaunch
	program []string // "/probe" without
}

// run runs it. The probe is /probe in every place.
func (a *attempt) run(t *testing.T) engine.Result {
	t.Helper()
	program := a.program
	if program == nil {
		program = []string{"/probe"}
	}
	words := slices.Concat([]string{"/caplaunch"}, a.flags, []string{"--"}, program)
	switch a.place {
	case "docker":
		d := engine.TheDocker(t)
		return d.Run(t, d.Load(t, image(t)), a.args, words...)
	case "podman":
		p := engine.ThePodman(t)
		return p.Run(t, p.Load(t, image(t)), a.args, words...)
	case "rootless":
		p := engine.TheRootlessPodman(t)
		return p.Run(t, p.Load(t, image(t)), a.args, words...)
	case "systemd":
		return engine.TheSystemd(t).RunUnit(t, a.args, words...)
	}
	words[0] = engine.Caplaunch(t)
	if program[0] == "/probe" {
		words[len(a.flags)+2] = engine.Probe(t)
	}
	if a.place == "unshare" {
		return engine.Exec(t, slices.Concat([]string{"unshare"}, a.args, words)...)
	}
	return engine.Start(t, a.args, words...)
}

// set puts a word such as --caps=x or User=x in the place of those of the same name.
func set(words []string, word string) []string { return append(without(words, word), word) }

// without takes all words out that have the name of word.
func without(words []string, word string) []string {
	name, _, _ := strings.Cut(word, "=")
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { n, _, _ := strings.Cut(w, "="); return n == name })
}

var (
	engineLine = regexp.MustCompile(`(?:docker|podman) run((?: --[a-z-]+=[^\s;,]+)+)`)
	unitLine   = regexp.MustCompile(`\b(User|Group|CapabilityBoundingSet|AmbientCapabilities|NoNewPrivileges|SecureBits|SystemCallFilter|TasksMax)=([^;,(]*?)(?: and |$|[;,]| \()`)
	ourLine    = regexp.MustCompile(`caplaunch((?: --[a-z-]+(?:=[^\s,:;()]+(?:,[^\s,:;()]+)*(?::[^\s,:;()]+)?)?)+)`)
	bareLine   = regexp.MustCompile(`^(--[a-z-]+=[^\s(]*[^\s(,])`)
	shellLine  = regexp.MustCompile(`(?:^|or )((?:setcap|chmod|sed|chown) [^,;]*?)(?: in the image|$|,| \()`)
	variable   = regexp.MustCompile(`^(CAPLAUNCH_[A-Z_]+)=([^\s(]*[^\s(,])`)
	getent     = regexp.MustCompile(`^write the number of the group, which needs no file: getent group (\S+) `)
	shareLine  = regexp.MustCompile(`^unshare((?: --[a-z-]+(?:=\S+)?)+)`)
)

// apply does what the hint says, to the letter: the part of it for this place, and of alternatives the first.
func (a *attempt) apply(t *testing.T, said engine.Line) {
	t.Helper()
	before := fmt.Sprint(a.flags, a.args)
	// What only the user knows stands in capitals, or is to be asked for.
	hint := strings.NewReplacer("UID:GID", "65532:65532", "=GID", "=65532").Replace(said.Hint)
	if strings.HasPrefix(hint, "an id that is mapped: ") {
		a.flags = set(a.flags, "--user=65532:65532")
	} else if m := getent.FindStringSubmatch(hint); m != nil {
		for i, f := range a.flags {
			a.flags[i] = strings.Replace(f, m[1], "65532", 1)
		}
	} else if m := variable.FindStringSubmatch(hint); m != nil {
		a.args = slices.DeleteFunc(slices.Clone(a.args), func(w string) bool { return strings.HasPrefix(w, "--env="+m[1]+"=") })
		a.args = append(a.args, "--env="+m[0])
	} else if m := ourLine.FindStringSubmatch(hint); m != nil {
		for _, f := range strings.Fields(m[1]) {
			a.flags = set(a.flags, f)
			for _, gone := range []string{"--caps", "--keep-groups", "--groups"} {
				if strings.Contains(hint, "in place of "+gone) {
					a.flags = without(a.flags, gone)
				}
			}
		}
	} else if m := bareLine.FindStringSubmatch(hint); m != nil {
		a.flags = set(a.flags, m[1])
	}
	switch a.place {
	case "docker", "podman", "rootless":
		if m := engineLine.FindStringSubmatch(hint); m != nil {
			flags := strings.Fields(m[1])
			for _, f := range flags {
				a.args = without(a.args, f)
			}
			a.args = append(a.args, flags...)
		}
	case "systemd":
		for _, m := range unitLine.FindAllStringSubmatch(hint, -1) {
			a.args = set(a.args, m[1]+"="+strings.TrimSpace(m[2]))
		}
	case "unshare":
		if m := shareLine.FindStringSubmatch(hint); m != nil {
			a.args = strings.Fields(m[1])
		}
	}
	if fmt.Sprint(a.flags, a.args) != before {
		return
	}
	m := shellLine.FindStringSubmatch(hint)
	if m == nil {
		t.Fatalf("there is nothing in it to follow: %q", hint)
	}
	engine.Do(t, "sh", "-c", m[1])
}

// From the error to a running program by nothing but following the hint: each refusal in the place where it comes
// from. A hint may lead to a second one, never further.
func TestHintsWorkWhenPasted(t *testing.T) {
	engine.RequireRoot(t)
	with := func(flags ...string) []string { return flags }

	// Programs with a fault in the file.
	broken := func(change ...string) []string {
		path := engine.Copy(t, engine.Probe(t), 0o755)
		engine.Do(t, append(change, path)...)
		return []string{path}
	}

	denied := engine.Write(t, "seccomp.json", `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": [{"index": 0, "value": 47, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}]}`)

	// A gVisor of before June 2026 has no ambient capabilities. The daemon finds it by this name.
	runsc := engine.Install(t, "gvisor.dev/gvisor/runsc", "v0.0.0-20260527191743-a81fd9dd382e")
	script := engine.Write(t, "gvisor-old", "#!/bin/sh\nexec "+runsc+" --network=none --ignore-cgroups \"$@\"\n")
	engine.Must(t, engine.CopyFile(filepath.Join(engine.PublicDir(), "gvisor-old"), script, 0o755))

	type row struct {
		name string
		attempt
		code int
		caps uint64 // of the program in the end
		uid  string
	}
	rows := []row{
		{"not granted", attempt{place: "docker", flags: admin}, 77, engine.NetAdmin, "65532"},
		{"non-root with cap-add", attempt{place: "docker", args: with("--user=65532:65532", "--cap-add=NET_ADMIN"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"non-root with cap-add, nobody named", attempt{place: "docker", args: with("--user=65532:65532", "--cap-add=NET_ADMIN"), flags: with("--caps=net_admin")}, 77, engine.NetAdmin, "65532"},
		{"root without SETUID", attempt{place: "docker", args: with("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETGID"), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"root without SETGID", attempt{place: "docker", args: with("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETUID"), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"another user", attempt{place: "docker", args: with("--user=1000:1000"), flags: with("--optional-caps=net_admin", "--user=65532:65532")}, 125, engine.NetAdmin, "65532"},
		{"the user without its group", attempt{place: "docker", args: with("--user=65532"), flags: with("--user=65532:65532")}, 125, 0, "65532"},
		{"other groups", attempt{place: "docker", args: with("--user=65532:65532", "--group-add=2000"), flags: with("--user=65532:65532")}, 125, 0, "65532"},
		{"bounding without SETPCAP", attempt{place: "docker", args: with("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETGID", "--cap-add=SETUID"), flags: append(with("--bounding=drop"), admin...)}, 125, engine.NetAdmin, "65532"},
		{"more than allowed, by cap-add", attempt{place: "docker", args: with("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=SETGID", "--cap-add=SETUID", "--cap-add=SYS_ADMIN"), flags: append(with("--strict"), admin...)}, 78, engine.NetAdmin, "65532"},
		{"root without a user", attempt{place: "docker", flags: with("--caps=chown")}, 125, 1, "65532"},
		{"a gVisor without ambient capabilities", attempt{place: "docker", args: with("--runtime=gvisor-old", "--cap-add=NET_ADMIN"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"not granted", attempt{place: "podman", flags: admin}, 77, engine.NetAdmin, "65532"},
		{"non-root, not granted", attempt{place: "podman", args: with("--user=65532:65532"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"not in CapabilityBoundingSet=", attempt{place: "systemd", args: with("CapabilityBoundingSet=CAP_SETUID CAP_SETGID"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"User= without AmbientCapabilities=", attempt{place: "systemd", args: with("User=65532", "Group=65532"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"User= without Group=", attempt{place: "systemd", args: with("User=65532", "Group=0"), flags: with("--user=65532:65532")}, 125, 0, "65532"},
		{"more than allowed", attempt{place: "systemd", flags: append(with("--strict"), admin...)}, 78, engine.NetAdmin, "65532"},
		{"securebits", attempt{place: "systemd", args: with("SecureBits=keep-caps-locked"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"a user that is not root", attempt{place: "unshare", args: with("--user", "--map-user=65532", "--map-group=65532"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"setgroups denied", attempt{place: "unshare", args: with("--user", "--map-root-user"), flags: admin}, 125, engine.NetAdmin, "0"},
		{"unmapped", attempt{place: "unshare", args: with("--user", "--map-root-user"), flags: with("--caps=net_admin", "--user=65532:65532", "--keep-groups")}, 125, engine.NetAdmin, "0"},
		{"not known to the kernel", attempt{place: "hand", flags: with("--caps=45", "--user=65532:65532")}, 77, 0, "65532"},
		{"root without no_new_privs", attempt{place: "hand", flags: with("--caps=net_admin", "--user=0:0", "--allow-new-privs")}, 125, engine.NetAdmin, "0"},
		{"no x bit", attempt{place: "hand", flags: admin, program: broken("chmod", "644")}, 126, engine.NetAdmin, "65532"},
		{"an unknown group of a known user", attempt{place: "hand", flags: with("--user=nobody", "--groups=nosuchgroup")}, 125, 0, "65534"},
		{"too many groups", attempt{place: "hand", args: with("-G", "1-65536"), flags: with("--user=70000:70000", "--keep-groups")}, 125, 0, "70000"},
		{"root, nobody named, not granted", attempt{place: "docker", flags: with("--caps=net_admin")}, 77, engine.NetAdmin, "65532"},
		{"a seccomp profile that denies ambient", attempt{place: "docker", args: with("--cap-add=NET_ADMIN", "--security-opt=seccomp="+denied), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"SystemCallFilter= without setresuid", attempt{place: "systemd", args: with("SystemCallFilter=~setresuid", "SystemCallErrorNumber=EPERM"), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"User= without AmbientCapabilities=, nobody named", attempt{place: "systemd", args: with("User=65532", "Group=65532"), flags: with("--caps=net_admin")}, 77, engine.NetAdmin, "65532"},
		{"User= outside CapabilityBoundingSet=", attempt{place: "systemd", args: with("User=65532", "Group=65532", "CapabilityBoundingSet=CAP_CHOWN"), flags: with("--caps=net_admin")}, 77, engine.NetAdmin, "65532"},
		{"a misspelt capability in a variable", attempt{place: "docker", args: with("--cap-add=NET_ADMIN", "--env=CAPLAUNCH_CAPS=net_amdin"), flags: with("--user=65532:65532")}, 125, engine.NetAdmin, "65532"},
		{"a variable that is no choice", attempt{place: "docker", args: with("--cap-add=NET_ADMIN", "--env=CAPLAUNCH_CAPS=net_admin", "--env=CAPLAUNCH_BOUNDING=all"), flags: with("--user=65532:65532")}, 125, engine.NetAdmin, "65532"},
		{"--strict with what Docker grants by default", attempt{place: "docker", args: with("--cap-add=NET_ADMIN"), flags: append(with("--strict"), admin...)}, 78, engine.NetAdmin, "65532"},
		{"a user with gid 0 and cap-add, nobody named", attempt{place: "docker", args: with("--user=65532", "--cap-add=NET_ADMIN"), flags: with("--caps=net_admin")}, 77, engine.NetAdmin, "65532"},
		{"--privileged with a user", attempt{place: "docker", args: with("--privileged", "--user=65532:65532"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"another user, with the capability", attempt{place: "podman", args: with("--cap-add=NET_ADMIN", "--user=1000:1000"), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"more than allowed for a user", attempt{place: "podman", args: with("--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--user=65532:65532"), flags: append(with("--strict"), admin...)}, 78, engine.NetAdmin, "65532"},
		{"not granted", attempt{place: "rootless", flags: admin}, 77, engine.NetAdmin, "65532"},
		{"more than allowed", attempt{place: "rootless", args: with("--cap-add=NET_ADMIN"), flags: append(with("--strict"), admin...)}, 78, engine.NetAdmin, "65532"},
		{"an id that is not mapped", attempt{place: "rootless", args: with("--cap-add=NET_ADMIN"), flags: with("--caps=net_admin", "--user=70000:70000")}, 125, engine.NetAdmin, "65532"},
		{"DynamicUser=", attempt{place: "systemd", args: with("DynamicUser=yes"), flags: admin}, 77, engine.NetAdmin, "65532"},
		{"User= is another", attempt{place: "systemd", args: with("User=nobody", "AmbientCapabilities=CAP_NET_ADMIN"), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"SupplementaryGroups=", attempt{place: "systemd", args: with("User=65532", "Group=65532", "SupplementaryGroups=users", "AmbientCapabilities=CAP_NET_ADMIN"), flags: admin}, 125, engine.NetAdmin, "65532"},
		{"more than allowed for a user", attempt{place: "systemd", args: with("User=65532", "Group=65532", "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"), flags: append(with("--strict"), admin...)}, 78, engine.NetAdmin, "65532"},
		{"--bounding=drop for a user", attempt{place: "systemd", args: with("User=65532", "Group=65532", "AmbientCapabilities=CAP_NET_ADMIN"), flags: append(with("--bounding=drop"), admin...)}, 125, engine.NetAdmin, "65532"},
		{"a name in a namespace of one id", attempt{place: "unshare", args: with("--user", "--map-root-user"), flags: with("--caps=net_admin", "--user=nobody")}, 125, engine.NetAdmin, "0"},
	}
	for i, r := range rows {
		t.Run(fmt.Sprintf("%s %s", r.place, r.name), func(t *testing.T) {
			a := r.attempt
			got := a.run(t)
			said := engine.Refused(t, got, r.code)
			if r.place == "unshare" && !strings.Contains(said.Msg, "user namespace") {
				t.Errorf("it is not told that this is one: %+v", said)
			}
			for range 2 {
				if t.Failed() {
					return
				}
				a.apply(t, said)
				if got = a.run(t); got.Code == 0 || !strings.Contains(got.Stderr, "caplaunch: hint:") {
					break
				}
				said = engine.Refused(t, got, got.Code)
			}
			want := engine.Promised(r.uid, r.caps).With("Gid", "*", "Groups", "*")
			if r.name == "root without no_new_privs" {
				want["NoNewPrivs"] = "*"
			}
			if want.Want(t, got); t.Failed() {
				t.Logf("row %d: after following %q with %+v", i, said.Hint, a)
			}
		})
	}
}
