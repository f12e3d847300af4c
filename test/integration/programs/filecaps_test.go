package programs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
	cexec "github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// What a launcher that does not look at the file ends in: the program itself has the capability, but its children
// have nothing, and AT_SECURE makes its loader ignore LD_LIBRARY_PATH and the like.
func TestFileCapsEqualToTheRequestAreRefused(t *testing.T) {
	path := engine.WithCaps(t, engine.Probe(t), "cap_net_admin=+ep")
	ambientOnly := []string{"-u", "65532", "-g", "65532", "-G", "none", "-p", "1000", "-i", "1000", "-a", "1000"}
	careless := engine.ParseProbe(engine.Start(t, ambientOnly, path).Stdout)
	if careless["CapEff"] != "0000000000001000" || careless["CapAmb"] != "0000000000000000" || careless["AT_SECURE"] != "1" {
		t.Errorf("without the refusal: %v", careless)
	}
	plain := engine.Probe(t)
	if m := engine.ParseProbe(engine.Start(t, ambientOnly, plain).Stdout); m["CapAmb"] != "0000000000001000" || m["AT_SECURE"] != "0" {
		t.Errorf("ambient capabilities alone: %v", m)
	}

	shell, err := filepath.EvalSymlinks("/bin/sh")
	engine.Must(t, err)
	shell = engine.WithCaps(t, shell, "cap_net_admin=+ep")
	if m := engine.ParseProbe(engine.Start(t, ambientOnly, shell, "-c", plain).Stdout); m["CapPrm"] != "0000000000000000" {
		t.Errorf("a child of such a program: %v", m)
	}

	s := start{flags: []string{"--caps=net_admin", asUser}}
	e := s.refused(t, refusal, path).File
	if e == nil || e.Denied || e.Given != netAdmin || e.Caps == nil || *e.Caps != (ambient.FileCaps{Permitted: netAdmin, Effective: true}) {
		t.Fatalf("%+v", e)
	}
	if got := fmt.Sprintf("%016x %016x", uint64(e.Permitted), uint64(e.Ambient)); got != careless["CapPrm"]+" "+careless["CapAmb"] {
		t.Errorf("predicted permitted and ambient %s, the kernel made %v", got, careless)
	}
	s.flags = append(s.flags, "--strip-file-caps")
	wantPromise(t, s.run(t, path), netAdmin)
	wantPromise(t, s.run(t, path, "children"), netAdmin)
}

// Any file capabilities, whatever is in them, and any set-id bit that counts.
func TestEveryPrivilegeOfAFileIsRefusedOrStripped(t *testing.T) {
	setID := func(mode os.FileMode) string { return engine.Copy(t, engine.Probe(t), mode) }
	for name, c := range map[string]struct {
		path    string
		flags   []string
		refused func(told) bool
	}{
		"more than the request":   {path: engine.WithCaps(t, engine.Probe(t), "cap_net_admin,cap_net_raw=+ep"), refused: func(e told) bool { return !e.File.Denied && e.File.Ambient == 0 }},
		"others than the request": {path: engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+p"), refused: func(e told) bool { return e.File.Caps.Permitted == netRaw && !e.File.Caps.Effective }},
		"only inheritable":        {path: engine.WithCaps(t, engine.Probe(t), "cap_net_admin=+i"), refused: func(e told) bool { return e.File.Caps.Inheritable == netAdmin }},
		"set-uid":                 {path: setID(0o755 | os.ModeSetuid), flags: []string{"--allow-new-privs"}, refused: func(e told) bool { return *e.File.SetUID == 0 }},
		"set-gid":                 {path: setID(0o755 | os.ModeSetgid), flags: []string{"--allow-new-privs"}, refused: func(e told) bool { return *e.File.SetGID == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			s := start{flags: append([]string{"--caps=net_admin", asUser}, c.flags...)}
			if e := s.refused(t, refusal, c.path); e.File == nil || !c.refused(e) {
				t.Errorf("%+v", e.File)
			}
			s.flags = append(s.flags, "--strip-file-caps")
			r := s.run(t, c.path)
			if c.flags == nil {
				wantPromise(t, r, netAdmin)
			} else if m := engine.ParseProbe(r.Stdout); m["CapAmb"] != "0000000000001000" || m["Uid"] != "65532 65532 65532 65532" || m["Gid"] != m["Uid"] {
				t.Errorf("%v", r)
			}
		})
	}
}

// no_new_privs and a nosuid mount take the set-id bits' effect away: there is nothing to refuse.
func TestPrivilegeThatDoesNotCountIsNoReasonToRefuse(t *testing.T) {
	s := start{flags: []string{"--caps=net_admin", asUser}}
	wantPromise(t, s.run(t, engine.Copy(t, engine.Probe(t), 0o755|os.ModeSetuid|os.ModeSetgid)), netAdmin)

	dir := engine.TempDir(t)
	path := filepath.Join(dir, "probe")
	s.within = fmt.Sprintf("mount -t tmpfs -o nosuid,mode=755 tmpfs %[1]s; cp %[2]s %[3]s; setcap cap_net_raw=+ep %[3]s", dir, engine.Probe(t), path)
	wantPromise(t, s.run(t, path), netAdmin)
}

// hidden is a program in a folder that only uid 65532 may enter, and a start without the capability to look inside.
func hidden(t *testing.T, path string) (start, string) {
	t.Helper()
	dir := own(t, engine.TempDir(t))
	to := filepath.Join(dir, "probe")
	engine.Must(t, engine.CopyFile(to, path, 0o755))
	engine.Must(t, os.Chmod(dir, 0o700))
	return start{from: []string{"-b", "10c0"}, flags: []string{"--caps=net_admin", asUser}}, to
}

func TestAProgramThatRootCannotSeeIsInspectedAsItsUser(t *testing.T) {
	s, path := hidden(t, engine.Probe(t))
	if r := engine.Start(t, s.from, "ls", path); r.Code == 0 {
		t.Fatalf("this root sees it: %v", r)
	}
	wantPromise(t, s.run(t, path), netAdmin)
	s.env = []string{"PATH=" + filepath.Dir(path)}
	wantPromise(t, s.run(t, "probe"), netAdmin)
	s.env = nil

	explained := func(code int) {
		t.Helper()
		cmd := engine.StartCommand(t, s.from, append(append([]string{engine.Caplaunch(t), "explain", "--json"}, s.flags...), "--", path)...)
		r := engine.Command(t, cmd)
		var x struct {
			Notes   []string
			Verdict struct{ OK bool }
		}
		if err := json.Unmarshal([]byte(r.Stdout), &x); err != nil || r.Code != code {
			t.Fatalf("%v: %v", err, r)
		}
		if !strings.Contains(strings.Join(x.Notes, "\n"), "as the new user, after the switch") || !x.Verdict.OK {
			t.Errorf("explain does not say that run will look later: %+v", x)
		}
	}
	explained(0)

	engine.Setcap(t, "cap_net_admin=+ep", path)
	if e := s.refused(t, refusal, path).File; e == nil || e.Ambient != 0 {
		t.Errorf("%+v", e)
	}
	explained(0) // it cannot know
	s.flags = append(s.flags, "--strip-file-caps")
	wantPromise(t, s.run(t, path), netAdmin)

	s, path = hidden(t, engine.Probe(t))
	missing := path + "-missing"
	if e := s.refused(t, 127, missing).Exec; e == nil || e.Reason != cexec.NotFound || e.Errno != unix.ENOENT {
		t.Errorf("%+v", e)
	}
}
