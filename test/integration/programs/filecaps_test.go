package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// What a launcher that does not look at the file ends in: the program itself has the capability, but its children
// have nothing, and AT_SECURE makes its loader ignore LD_LIBRARY_PATH and the like.
func TestFileCapsEqualToTheRequestAreRefused(t *testing.T) {
	path := engine.WithCaps(t, engine.Probe(t), "cap_net_admin=+ep")
	ambientOnly := []string{"-u", "65532", "-g", "65532", "-G", "none", "-p", "1000", "-i", "1000", "-a", "1000"}
	none, one := engine.Mask(0), engine.Mask(netAdmin)
	engine.Promise{"CapEff": one, "CapAmb": none, "AT_SECURE": "1"}.Want(t, engine.Start(t, ambientOnly, path))
	plain := engine.Probe(t)
	engine.Promise{"CapAmb": one, "AT_SECURE": "0"}.Want(t, engine.Start(t, ambientOnly, plain))

	shell, err := filepath.EvalSymlinks("/bin/sh")
	engine.Must(t, err)
	shell = engine.WithCaps(t, shell, "cap_net_admin=+ep")
	engine.Promise{"CapPrm": none}.Want(t, engine.Start(t, ambientOnly, shell, "-c", plain)) // a child of such a program

	s := start{flags: []string{"--caps=net_admin", asUser}}
	s.refused(t, engine.Failure, "its file capabilities (net_admin) clear the ambient set: it would run with permitted net_admin and its children with nothing", path)
	s.flags = append(s.flags, "--strip-file-caps")
	given.Want(t, s.run(t, path))
	given.Want(t, s.run(t, path, "children"))
}

// Any file capabilities, whatever is in them, and any set-id bit that counts.
func TestEveryPrivilegeOfAFileIsRefusedOrStripped(t *testing.T) {
	setID := func(mode os.FileMode) string { return engine.Copy(t, engine.Probe(t), mode) }
	for name, c := range map[string]struct {
		path  string
		flags []string
		says  string
	}{
		"more than the request":   {engine.WithCaps(t, engine.Probe(t), "cap_net_admin,cap_net_raw=+ep"), nil, "(net_admin,net_raw) clear the ambient set: it would run with permitted net_admin and its children with nothing"},
		"others than the request": {engine.WithCaps(t, engine.Probe(t), "cap_net_raw=+p"), nil, "(net_raw) clear the ambient set"},
		"only inheritable":        {engine.WithCaps(t, engine.Probe(t), "cap_net_admin=+i"), nil, "(net_admin) clear the ambient set"},
		"set-uid":                 {setID(0o755 | os.ModeSetuid), []string{"--allow-new-privs"}, "would make it run as uid 0, gid 65532"},
		"set-gid":                 {setID(0o755 | os.ModeSetgid), []string{"--allow-new-privs"}, "would make it run as uid 65532, gid 0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start{flags: append([]string{"--caps=net_admin", asUser}, c.flags...)}
			s.refused(t, engine.Failure, c.says, c.path)
			s.flags = append(s.flags, "--strip-file-caps")
			given.With("NoNewPrivs", map[bool]string{true: "1", false: "0"}[c.flags == nil]).Want(t, s.run(t, c.path))
		})
	}
}

// no_new_privs and a nosuid mount take the set-id bits' effect away: there is nothing to refuse.
func TestPrivilegeThatDoesNotCountIsNoReasonToRefuse(t *testing.T) {
	s := start{flags: []string{"--caps=net_admin", asUser}}
	given.Want(t, s.run(t, engine.Copy(t, engine.Probe(t), 0o755|os.ModeSetuid|os.ModeSetgid)))

	dir := engine.TempDir(t)
	path := filepath.Join(dir, "probe")
	s.within = fmt.Sprintf("mount -t tmpfs -o nosuid,mode=755 tmpfs %[1]s; cp %[2]s %[3]s; setcap cap_net_raw=+ep %[3]s", dir, engine.Probe(t), path)
	given.Want(t, s.run(t, path))
}

// hidden is a program in a folder that only uid 65532 may enter, and a start without the capability to look inside.
func hidden(t *testing.T) (start, string) {
	t.Helper()
	path := engine.Copy(t, engine.Probe(t), 0o755)
	engine.Must(t, os.Chown(filepath.Dir(path), 65532, 65532))
	engine.Must(t, os.Chmod(filepath.Dir(path), 0o700))
	return start{from: []string{"-b", "10c0"}, flags: []string{"--caps=net_admin", asUser}}, path
}

func TestAProgramThatRootCannotSeeIsInspectedAsItsUser(t *testing.T) {
	s, path := hidden(t)
	if r := engine.Start(t, s.from, "ls", path); r.Code == 0 {
		t.Fatalf("this root sees it: %v", r)
	}
	given.Want(t, s.run(t, path))
	s.env = []string{"PATH=" + filepath.Dir(path)}
	given.Want(t, s.run(t, filepath.Base(path)))
	s.env = nil

	if v := s.explain(t, 0, path); !v.OK {
		t.Errorf("%+v", v)
	}
	engine.Setcap(t, "cap_net_admin=+ep", path)
	s.refused(t, engine.Failure, "(net_admin) clear the ambient set", path)
	s.flags = append(s.flags, "--strip-file-caps")
	given.Want(t, s.run(t, path))

	s, path = hidden(t)
	s.refused(t, 127, "no such file", path+"-missing")
}
