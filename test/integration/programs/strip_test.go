package programs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// strip launches what has file capabilities that would break the promise.
var strip = start{flags: []string{"--caps=net_admin", asUser, "--strip-file-caps"}}

func capable(t testing.TB) string {
	t.Helper()
	return engine.WithCaps(t, engine.Probe(t), "cap_net_admin,cap_net_raw=+ep")
}

func TestStripLeavesLimitsAndDescriptorsAsTheyWere(t *testing.T) {
	engine.Require(t, "prlimit")
	s := strip
	s.wrap = []string{"prlimit", "--nofile=1024:20000"}
	path := capable(t)
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
	path := capable(t)
	s := strip
	s.env = []string{"PATH=" + filepath.Dir(path)}
	name := filepath.Base(path)
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
