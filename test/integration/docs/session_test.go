package docs

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

var update = flag.Bool("update", false, "write into the pages what the commands print, and record the terminal")

// A session is where the blocks of one page are run, one after the other.
type session struct {
	page, text string
	dir        string // a copy of the repository
	inside     string // the same in the Debian of systemd
}

// open makes the copy: a clone in which "make build bin/relay" was run.
func (s *session) open(t testing.TB) {
	t.Helper()
	if s.dir != "" {
		return
	}
	s.dir = filepath.Join(engine.TempDir(t), "caplaunch")
	engine.Must(t, os.MkdirAll(filepath.Join(s.dir, "bin"), 0o755))
	engine.Do(t, "sh", "-ec", `tar -C "$1" --exclude=./.git --exclude=./.cache --exclude=./bin --exclude=./dist --exclude='*.test' -cf - . | tar -C "$2" -xf -`, "sh", engine.Root, s.dir)
	engine.Must(t, engine.CopyFile(filepath.Join(s.dir, "bin/caplaunch"), engine.Caplaunch(t), 0o755))
	engine.Must(t, engine.CopyFile(filepath.Join(s.dir, "bin/relay"), engine.BuildGo(t, "examples/relay", ""), 0o755))
}

func (s *session) write(t testing.TB, name, text string) {
	t.Helper()
	s.open(t)
	path := filepath.Join(s.dir, name)
	engine.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	engine.Must(t, os.WriteFile(path, []byte(text), 0o644))
	if s.inside != "" {
		engine.TheSystemd(t).WriteFile(t, filepath.Join(s.inside, name), text, 0o644)
	}
}

func (s *session) run(t testing.TB, b block, place string) {
	t.Helper()
	s.open(t)
	shell := s.here
	if place == "systemd" {
		shell = s.systemd
	}
	if b.lang == "sh" {
		if r := engine.Command(t, shell(t, "set -e\n"+b.text)); r.Code != 0 {
			t.Errorf("%s:%d: %v", s.page, b.line, r)
		}
		return
	}
	commands, outputs := split(b.text)
	if len(commands) == 0 {
		t.Errorf("%s:%d: no command", s.page, b.line)
		return
	}
	got := said(t, shell, commands)
	printed := ""
	for i, c := range commands {
		if like(outputs[i], got[i]) {
			printed += "$ " + c + "\n" + outputs[i]
			continue
		}
		if printed += "$ " + c + "\n" + got[i]; !*update {
			t.Errorf("%s:%d: $ %s\nsays\n%sthe page\n%s", s.page, b.line, c, got[i], outputs[i])
		}
	}
	if *update && printed != b.text {
		s.text = strings.Replace(s.text, b.text, printed, 1)
		engine.Must(t, os.WriteFile(filepath.Join(engine.Root, s.page), []byte(s.text), 0o644))
	}
}

// said runs the commands in one shell, and gives what each printed.
func said(t testing.TB, shell func(testing.TB, string) *exec.Cmd, commands []string) []string {
	t.Helper()
	script := "exec 2>&1\n"
	for _, c := range commands {
		script += c + "\n__status=$?; printf '\\036'; (exit $__status)\n"
	}
	r := engine.Command(t, shell(t, script))
	got := strings.Split(r.Stdout, "\x1e")
	if len(got) != len(commands)+1 {
		t.Fatalf("the shell ended before the last command: %v", r)
	}
	for i := range got {
		got[i] = ends.ReplaceAllString(strings.ReplaceAll(got[i], "\r", ""), "")
	}
	return got[:len(commands)]
}

var ends = regexp.MustCompile(`(?m) +$`)

// split divides a console block into commands and what each prints. A command goes on below a line that ends in "\".
func split(text string) (commands, outputs []string) {
	more := false
	for line := range strings.Lines(text) {
		switch command, ok := strings.CutPrefix(line, "$ "); {
		case more:
			commands[len(commands)-1] += line
		case ok:
			commands, outputs = append(commands, command), append(outputs, "")
		case len(commands) > 0:
			outputs[len(outputs)-1] += line
			continue
		}
		more = strings.HasSuffix(line, "\\\n")
	}
	for i := range commands {
		commands[i] = strings.TrimSuffix(commands[i], "\n")
	}
	return commands, outputs
}

// like reports whether the output is the one that was printed, but for what stands as ….
func like(want, got string) bool {
	p := regexp.QuoteMeta(strings.TrimSpace(want))
	p = regexp.MustCompile(`(?m)^…$\n?`).ReplaceAllString(p, `(?s:.*)`)
	p = strings.ReplaceAll(p, "…", ".*")
	return regexp.MustCompile(`^` + p + `$`).MatchString(strings.TrimSpace(got))
}

// here is a shell on this machine, in the network of the Docker daemon where the page has to do with it: ports that
// are published are found there.
func (s *session) here(t testing.TB, script string) *exec.Cmd {
	t.Helper()
	engine.RequireRoot(t)
	bin := engine.TempDir(t)
	path := bin + ":/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	wrap := func(name, script string) {
		engine.Must(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	wrap("sudo", `exec "$@"`)
	engine.Must(t, os.Symlink(engine.Caplaunch(t), filepath.Join(bin, "caplaunch")))
	words := []string{"unshare", "--net", "--mount"}
	if strings.Contains(s.text, "docker ") {
		d := engine.TheDocker(t)
		loadImages(t, d)
		t.Cleanup(func() {
			for _, id := range strings.Fields(d.Cmd(t, "ps", "-aq").Stdout) {
				d.Cmd(t, "rm", "-f", id)
			}
		})
		cmd := d.Command()
		wrap("docker", "[ \"$1\" != compose ] || { shift; exec docker-compose \"$@\"; }\nexec env DOCKER_BUILDKIT=1 BUILDKIT_PROGRESS=plain "+engine.Quote(cmd.Args...)+` "$@"`)
		words = []string{"env", "DOCKER_HOST=" + cmd.Args[2], "nsenter", d.Network(), "unshare", "--mount"}
	}
	if strings.Contains(s.text, "$ podman ") {
		p := engine.TheRootlessPodman(t)
		p.Load(t, images["alpine"](t))
		cmd := p.Command()
		wrap("podman", `[ "$1" != run ] || { shift; set -- run --cgroups=disabled "$@"; } # see engine.Podman.Run
case "$*" in *--network*) ;; *) shift; set -- run --network=none "$@" ;; esac
exec env -i `+engine.Quote(append(cmd.Env, cmd.Args...)...)+` "$@"`)
	}
	script = "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\nip link set lo up 2>/dev/null\n" + script
	cmd := exec.Command(words[0], append(words[1:], "bash", "-c", script)...)
	cmd.Dir = s.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ours.MatchString), "PATH="+path)
	return cmd
}

// ours are variables of the tests, and of the make that runs them.
var ours = regexp.MustCompile(`^(PATH=|TEST_|DOCKER_|MAKE)`)

// systemd is a shell in the Debian that systemd has booted.
func (s *session) systemd(t testing.TB, script string) *exec.Cmd {
	t.Helper()
	m := engine.TheSystemd(t)
	if s.inside == "" {
		s.inside = fmt.Sprintf("/root/%s/caplaunch", strings.ReplaceAll(s.page, "/", "-"))
		engine.Must(t, os.MkdirAll(m.Path(filepath.Dir(s.inside)), 0o755))
		engine.Do(t, "cp", "-a", s.dir, m.Path(s.inside))
		engine.Do(t, "cp", "-a", repository(t), m.Path("/repo"))
		m.WriteFile(t, "/etc/apt/sources.list", sources, 0o644)
		m.WriteFile(t, "/etc/hosts", "127.0.0.1 localhost\n", 0o644) // as every installed Debian has
	}
	return m.Command("bash", "-c", "cd "+s.inside+"\n"+patient+script)
}

// patient waits behind systemctl until caplaunch has become the unit's program, as whoever types the next command does:
// systemd calls a simple unit started as soon as it has forked.
const patient = `systemctl() {
	command systemctl "$@" || return
	case $1 in start|restart)
		while [[ $(readlink /proc/$(command systemctl show -P MainPID $2)/exe) == */caplaunch ]]; do :; done
	esac
}
`
