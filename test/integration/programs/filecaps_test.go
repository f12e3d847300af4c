package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

// What the kernel does not tell of a program's file is not taken for an answer.
func TestALookThatFailsIsNoAnswer(t *testing.T) {
	engine.RequireRoot(t, "strace", "setcap")
	probe := engine.Probe(t)
	opaque := filepath.Join(engine.TempDir(t), "opaque")
	engine.Must(t, engine.CopyFile(opaque, probe, 0o711))
	withCaps := engine.WithCaps(t, probe, "cap_net_raw=+ep")
	for _, c := range []struct {
		path, inject, flags string
		code                int // 0: PROGRAM runs
		says                string
	}{
		{probe, "openat:error=EINTR:when=1", "", 0, ""},
		{probe, "openat:error=EINTR:when=2", "", 0, ""},
		{probe, "openat:error=EACCES:when=2", "", engine.Failure, "changed"},
		{opaque, "newfstatat:error=EIO", "", engine.Failure, "changed"},
		{probe, "openat:error=EMFILE:when=1", "", engine.Failure, "too many open files"},
		{probe, "openat:error=EMFILE:when=2", "", engine.Failure, "too many open files"},
		{probe, "openat:error=EAGAIN:when=2", "", 126, "text file busy"},
		{probe, "fstat:error=EIO:when=1", "", 126, "input/output error"},
		{probe, "fstat:error=EIO:when=2", "", engine.Failure, "changed"},
		{probe, "pread64:retval=10:when=1", "", engine.Failure, "changed"},
		{probe, "pread64:error=EIO:when=1", "", 126, ""},
		{probe, "fgetxattr:error=EIO", "", 126, "file capabilities make no sense"},
		{probe, "faccessat2:error=ENOSYS", "", 0, ""},
		{probe, "faccessat2:error=EIO", "", 126, "input/output error"},
		{withCaps, "sendfile:error=EINTR:when=1", "--strip-file-caps", 0, ""},
		{withCaps, "sendfile:error=ENOSPC", "--strip-file-caps", engine.Failure, "no space left"},
		{withCaps, "sendfile:retval=0", "--strip-file-caps", engine.Failure, "changed"},
		{withCaps, "fstat:error=EIO:when=3", "--strip-file-caps", engine.Failure, "changed"},
		{withCaps, "fstatfs:error=EIO", "", 126, "input/output error"},
	} {
		t.Log(c.inject)
		words := append([]string{"strace", "-f", "-qqq", "-o", "/dev/null", "-P", c.path, "-e", "inject=" + c.inject, engine.Caplaunch(t), "-u", "65532:65532"}, strings.Fields(c.flags)...)
		r := engine.Exec(t, append(words, "--", c.path)...)
		if c.code == 0 {
			r.Ran(t)
		} else {
			engine.Refused(t, r, c.code).Says(t, c.says)
		}
	}
}

// strip launches what has file capabilities that would break the promise.
var strip = start{flags: []string{"--caps=net_admin", asUser, "--strip-file-caps"}}

func TestStripLeavesLimitsAndDescriptorsAsTheyWere(t *testing.T) {
	engine.Require(t, "prlimit")
	s := strip
	s.wrap = []string{"prlimit", "--nofile=1024:20000"}
	path := engine.WithCaps(t, engine.Probe(t), "cap_net_admin,cap_net_raw=+ep")
	given.With("rlimit nofile", "1024 20000").Want(t, s.run(t, path, "all"))
	// All but the inodes of the pipes, which are made anew.
	fds := func(s start, path string) string {
		cmd := s.command(t, path, "fds")
		cmd.ExtraFiles = []*os.File{os.Stderr}
		return regexp.MustCompile(`file [0-9a-f:]+`).ReplaceAllString(engine.Command(t, cmd).Stdout, "file")
	}
	if got, want := fds(s, path), fds(s, engine.Probe(t)); got != want || !strings.Contains(want, "fd 3=") {
		t.Errorf("with a copy:\n%s\nwithout:\n%s", got, want)
	}
}

func TestStripKeepsArgv0AsItWasWritten(t *testing.T) {
	dir, name := filepath.Split(engine.WithCaps(t, engine.Probe(t), "cap_net_admin,cap_net_raw=+ep"))
	s := strip
	s.env = []string{"PATH=" + dir}
	given.With("argc", "3", "arg0", name, "arg1", "", "arg2", "--").Want(t, s.run(t, name, "", "--"))
}

// What has no privilege is not copied: /proc/self/exe stays what it is.
func TestStripCopiesOnlyWhatHasPrivilege(t *testing.T) {
	readlink, err := filepath.EvalSymlinks("/bin/readlink")
	engine.Must(t, err)
	for path, want := range map[string]string{readlink: readlink, engine.WithCaps(t, readlink, "cap_net_raw=+ep"): "/memfd:readlink (deleted)"} {
		if r := strip.run(t, path, "/proc/self/exe"); r.Code != 0 || strings.TrimSpace(r.Stdout) != want {
			t.Errorf("want %s: %v", want, r)
		}
	}
}
