package words

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// In Kubernetes the two lines stand where kubectl describe looks, and nowhere else.
func TestTheTerminationMessage(t *testing.T) {
	engine.RequireRoot(t)
	at := func(path, front string, words ...string) engine.Result {
		script := "mount -t tmpfs tmpfs /dev && : >/dev/termination-log && mount --bind " + path + ` /dev/termination-log && ` + front + ` "$@"`
		return engine.Exec(t, slices.Concat([]string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "env", "KUBERNETES_SERVICE_HOST=10.0.0.1", "sh", "-ec", script, "sh", engine.Caplaunch(t)}, behind(t, words...))...)
	}
	run := func(before, front string, words ...string) (engine.Result, string) {
		path := engine.Write(t, "message", before)
		r := at(path, front, words...)
		return r, engine.Read(t, path)
	}
	for _, words := range [][]string{{"-c", "45", "-u", "65532:65532"}, {"-c", "nope"}, {"--bogus"}, {}} {
		r, message := run("", "exec", words...)
		if engine.Refused(t, r, r.Code); message != r.Stderr {
			t.Errorf("%q: %q", words, message)
		}
	}
	if r, message := run("", "exec", "explain", "-c", "nope"); message != "" {
		t.Errorf("of explain: %q: %v", message, r)
	}
	if r, message := run("mine", "exec", "-c", "nope"); message != "mine" {
		t.Errorf("%q: %v", message, r)
	}
	if r, message := run("", "", "-c", "nope"); message != "" || !strings.Contains(r.Stderr, engine.HintPrefix) { // the shell is process 1
		t.Errorf("%q: %v", message, r)
	}
	fifo := filepath.Join(engine.TempDir(t), "fifo")
	engine.Must(t, unix.Mkfifo(fifo, 0o600))
	fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	engine.Must(t, err)
	defer unix.Close(fd)
	r := at(fifo, "exec", "-c", "nope")
	if n, _ := unix.Read(fd, make([]byte, 100)); n > 0 || r.Code != 125 {
		t.Errorf("%d bytes in a FIFO: %v", n, r)
	}
	if _, message := run("", "exec env -u KUBERNETES_SERVICE_HOST", "-c", "nope"); message != "" {
		t.Errorf("elsewhere: %q", message)
	}
	r, message := run("", "exec", "-u", "65532:65532")
	if engine.Promised("65532", 0).Want(t, r); message != "" {
		t.Errorf("%q", message)
	}
}

// Where every user can bind every port, the hint is to leave the capability out.
func TestACapabilityThatIsNotNeeded(t *testing.T) {
	d, img := docker(t)
	flags := []string{"--network=bridge", "--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID"}
	asked := d.Run(t, img, flags, "/caplaunch", "-c", "net_bind_service", "-u", "65532:65532", "--", "/probe")
	engine.Refused(t, asked, engine.NotGranted).Hints(t, "leave net_bind_service out: ")
	engine.Promised("65532", 0).Want(t, d.Run(t, img, flags, "/caplaunch", "-u", "65532:65532", "--", "/probe"))
}

// A plain host has no runtime to grant anything: the hint is the same line, by sudo.
func TestAPlainHostGetsSudo(t *testing.T) {
	engine.RequireRoot(t)
	run := func(as, variable string, words ...string) engine.Result {
		const script = `mount -t tmpfs tmpfs /mnt && cp "$1" /mnt/caplaunch && cp "$2" /mnt/probe && as=$3 && shift 3 && exec chroot --userspec=$as /mnt "$@"`
		return engine.Exec(t, slices.Concat([]string{"unshare", "--mount", "env", "-i", "PATH=/bin:/usr/bin:/sbin:/usr/sbin", variable, "sh", "-ec", script, "sh", engine.Caplaunch(t), engine.Probe(t), as}, words)...)
	}
	const unset = "CAPLAUNCH_USER="
	engine.Failed(t, run("0:0", unset, "/caplaunch", "check", "--allow=none"), engine.Unexpected).Hints(t, "setpriv --bounding-set=-chown,")
	for user, variable := range map[string]string{"-u 65532:65532": unset, "-u 1000:1000": unset, "": unset, "--quiet": "CAPLAUNCH_USER=65532:65532"} {
		launch := append([]string{"/caplaunch", "-c", "net_admin"}, strings.Fields(user)...)
		said := engine.Refused(t, run("1000:1000", variable, append(launch, "--", "/probe")...), engine.NotGranted)
		line, bySudo := strings.CutPrefix(said.Hint, "sudo ")
		if !bySudo || strings.Contains(line, "docker") {
			t.Fatalf("%+v", said)
		}
		id := "1000"
		if strings.Contains(user+variable, "65532") {
			id = "65532"
		}
		// sudo takes variables away.
		engine.Promised(id, engine.NetAdmin).With("securebits", "*").Want(t, run("0:0", unset, strings.Fields(line)...))
	}
}
