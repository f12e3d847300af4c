package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// bind is what users give caddy, which is Debian's here.
const bind = "cap_net_bind_service=+ep"

// wantVersion checks that "caddy version" ran.
func wantVersion(t testing.TB, r engine.Result) {
	t.Helper()
	if r.Code != 0 || !isVersion.MatchString(strings.TrimSpace(r.Stdout)) {
		t.Errorf("caddy version did not run: %v", r)
	}
}

var isVersion = regexp.MustCompile(`^v?\d+(\.\d+)+$`)

// A file that demands what is not in the bounding set: EPERM, although "version" needs nothing.
func TestCaddyRunsUnderAnEmptiedBoundingSet(t *testing.T) {
	path := engine.WithCaps(t, engine.Tool(t, "caddy"), bind)
	s := start{from: []string{"-b", "c0"}, flags: []string{asUser}} // setuid and setgid
	if r := engine.Start(t, s.from, path, "version"); r.Code != 127 || !strings.Contains(r.Stderr, "Operation not permitted") {
		t.Errorf("alone it should fail as users know it: %v", r)
	}
	s.refused(t, engine.Failure, "demand net_bind_service, and net_bind_service is not in the bounding set", path, "version")
	s.flags = append(s.flags, "--strip-file-caps")
	wantVersion(t, s.run(t, path, "version"))
}

func TestCaddyRunsUnderDockersDropAll(t *testing.T) {
	d := engine.TheDocker(t)
	base := engine.Tools(t, "caddy")
	delete(base, "/bin/caddy") // its libraries stay; it comes by the Dockerfile, as with users
	d.Load(t, engine.ScratchImage("caplaunch.test/caddy-base:1", base))
	dir := engine.Tree(t, map[string]engine.Src{
		"/caddy": engine.File(engine.Tool(t, "caddy")), "/caplaunch": engine.File(engine.Caplaunch(t)),
		"/Dockerfile": engine.Text("FROM caplaunch.test/caddy-base:1\nCOPY caddy /usr/bin/caddy\nRUN setcap " + bind + " /usr/bin/caddy\nCOPY caplaunch /caplaunch\n"),
	})
	for _, buildkit := range []bool{false, true} {
		t.Run(fmt.Sprintf("buildkit=%v", buildkit), func(t *testing.T) {
			const image = "caplaunch.test/caddy:1"
			d.MustBuild(t, dir, buildkit, image)
			drop := []string{"--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID"}
			if r := d.Run(t, image, drop[:1], "caddy", "version"); r.Code == 0 || !strings.Contains(strings.ToLower(r.Stderr), "operation not permitted") {
				t.Errorf("alone it should fail as users know it: %v", r)
			}
			engine.Refused(t, d.Run(t, image, drop, "/caplaunch", asUser, "--", "caddy", "version"), engine.Failure)
			strip := []string{"/caplaunch", asUser, "--strip-file-caps", "--", "caddy", "version"}
			wantVersion(t, d.Run(t, image, drop, strip...))
			wantVersion(t, d.Run(t, image, append(drop, "--read-only", "--security-opt=no-new-privileges"), strip...))
		})
	}
}

// The port is privileged for real: in a new network namespace ip_unprivileged_port_start is 1024.
func TestCaddyServesPort80(t *testing.T) {
	engine.Require(t, "busybox")
	respond := []string{"respond", "--listen=127.0.0.1:80", "hello from port 80"}
	capable := engine.WithCaps(t, engine.Tool(t, "caddy"), bind)
	plain := engine.Copy(t, capable, 0o755)
	home := engine.TempDir(t)
	engine.Must(t, os.Chown(home, 65532, 65532))
	alone := engine.Exec(t, append([]string{"unshare", "--net", engine.Capstart(t), "-u", "65532", "-g", "65532", "-G", "none", "--", plain}, respond...)...)
	if alone.Code == 0 || !strings.Contains(alone.Stderr, "permission denied") {
		t.Errorf("without the capability it should not get the port: %v", alone)
	}
	for name, c := range map[string]start{
		"plain":                   {flags: []string{"--caps=net_bind_service", asUser}},
		"with file capabilities":  {flags: []string{"--caps=net_bind_service", asUser, "--strip-file-caps"}},
		"with the smallest grant": {flags: []string{"--caps=net_bind_service", asUser, "--strip-file-caps"}, from: []string{"-b", "4c0"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := plain
			if slices.Contains(c.flags, "--strip-file-caps") {
				path = capable
			}
			c.wrap = []string{"unshare", "--net", "sh", "-c", `ip link set lo up && exec "$@"`, "sh"}
			c.flags = append(c.flags, "--keep-env")
			c.env = []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}
			cmd := c.command(t, append([]string{path}, respond...)...)
			log, err := os.Create(filepath.Join(engine.TempDir(t), "log"))
			engine.Must(t, err)
			defer log.Close()
			cmd.Stdout, cmd.Stderr = log, log
			pid := engine.Background(t, cmd)
			if !engine.Await(func() bool {
				return engine.Exec(t, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), "busybox", "wget", "-qO-", "http://127.0.0.1/").Stdout == "hello from port 80"
			}) {
				t.Errorf("it does not answer: %s", engine.Read(t, log.Name()))
			}
			engine.Promised("65532", 1<<10).Want(t, engine.Exec(t, engine.Probe(t), fmt.Sprint(pid)))
		})
	}
}
