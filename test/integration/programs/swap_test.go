package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// launches is how many of them each test of the race makes, at least.
const launches = 300

// swapped is a path that leads to a plain program, one with file capabilities, a set-uid one and a script in turn, for
// as long as the test goes on. There is a file at every moment: renameat2(2) with RENAME_EXCHANGE.
func swapped(t *testing.T) string {
	t.Helper()
	dir := engine.TempDir(t)
	path, others := filepath.Join(dir, "probe"), []string{filepath.Join(dir, "caps"), filepath.Join(dir, "setuid"), filepath.Join(dir, "script")}
	for _, p := range append(others[:2:2], path) {
		engine.Must(t, engine.CopyFile(p, engine.Probe(t), 0o755))
	}
	engine.Must(t, os.WriteFile(others[2], []byte("#!"+engine.Probe(t)+" x\n"), 0o755))
	engine.Setcap(t, "cap_net_admin,cap_net_raw,cap_sys_admin=+ep", others[0])
	engine.Must(t, os.Chmod(others[1], 0o4755))
	if err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, others[0], unix.RENAME_EXCHANGE); err != nil {
		engine.Unusable(t, "renameat2: %v", err)
	}
	var swaps atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, others[i%len(others)], unix.RENAME_EXCHANGE)
			swaps.Add(1)
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		t.Logf("%d swaps", swaps.Load())
	})
	return path
}

// A count is what became of launches.
type count struct{ exact, less, more, refused, other int }

// race makes launches of path and counts what the programs that ran had.
func race(t *testing.T, s start, path string) count {
	t.Helper()
	var (
		n  count
		mu sync.Mutex
		wg sync.WaitGroup
	)
	command := func() *exec.Cmd { return s.command(t, path) }
	for range 2 {
		wg.Go(func() {
			for range launches / 2 {
				r := engine.Command(t, command())
				m := engine.ParseProbe(r.Stdout)
				mu.Lock()
				switch {
				case r.Code == engine.Failure && r.Stdout == "" && r.Stderr != "":
					engine.Refused(t, r, engine.Failure)
					n.refused++
				case r.Code != 0:
					t.Errorf("neither launched nor refused: %v", r)
					n.other++
				case !promised(m, !slices.Contains(s.flags, "--allow-new-privs")):
					t.Errorf("more than the promise: %v", r)
					n.more++
				case m["CapPrm"] == "0000000000001000" && m["CapEff"] == m["CapPrm"] && m["CapAmb"] == m["CapPrm"] && m["AT_SECURE"] == "0":
					n.exact++
				default:
					n.less++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("of %d launches %d had exactly the promise, %d less, %d more, %d were refused", launches, n.exact, n.less, n.more, n.refused)
	return n
}

// promised reports whether nothing in the state exceeds the promise.
func promised(m map[string]string, noNewPrivs bool) bool {
	for _, set := range []string{"CapPrm", "CapEff", "CapInh", "CapAmb"} {
		if m[set] != "0000000000001000" && m[set] != "0000000000000000" {
			return false
		}
	}
	return m["Uid"] == "65532 65532 65532 65532" && m["Gid"] == m["Uid"] && m["Groups"] == "65532" && (m["NoNewPrivs"] == "1") == noNewPrivs
}

// What was looked at need not be what is executed, SECURITY.md.
func TestASwappedProgramNeverGetsMoreThanThePromise(t *testing.T) {
	engine.RequireRoot(t)
	n := race(t, start{flags: []string{"--caps=net_admin", asUser}}, swapped(t))
	if n.exact == 0 || n.refused == 0 {
		t.Errorf("the race was not run: %+v", n)
	}
}

// Nothing but --strip-file-caps stands in the way of more when no_new_privs is off: then every program is copied.
func TestASwappedProgramGetsExactlyThePromiseWithStrip(t *testing.T) {
	engine.RequireRoot(t)
	s := start{flags: []string{"--caps=net_admin", asUser, "--strip-file-caps", "--allow-new-privs"}}
	if n := race(t, s, swapped(t)); n.exact == 0 || n.less > 0 {
		t.Errorf("%+v", n)
	}
}
