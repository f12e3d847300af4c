//go:build linux

package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/caplaunch/caplaunch/internal/ambient"
	program "github.com/caplaunch/caplaunch/internal/exec"
)

// The field's own library and tools know nothing of this repository: what they
// say of names, sets and files must be what it says.

func require(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			unusable(t, "%v", err)
		}
	}
}

func output(t *testing.T, command string, args ...string) string {
	t.Helper()
	var text bytes.Buffer
	cmd := exec.Command(command, args...)
	cmd.Stderr = &text
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", command, args, err, text.String())
	}
	return strings.TrimSpace(string(b))
}

func TestNamesAndNumbersAreLibcaps(t *testing.T) {
	if len(ambient.NamedCaps.Names()) != int(cap.NamedCount) {
		t.Errorf("%d names, libcap has %d", len(ambient.NamedCaps.Names()), cap.NamedCount)
	}
	for n := range cap.Value(64) {
		want := strings.TrimPrefix(n.String(), "cap_") // a number when it has no name
		if got := ambient.Cap(n).String(); got != want {
			t.Errorf("capability %d is %q, libcap says %q", n, got, want)
		}
		for _, name := range []string{n.String(), strings.ToUpper(n.String()), want} {
			if got, err := ambient.ParseCap(name); err != nil || got != ambient.Cap(n) {
				t.Errorf("%q is %d, %v, libcap says %d", name, got, err, n)
			}
		}
	}
}

// libcapSet is s as libcap's effective, permitted and inheritable.
func libcapSet(t *testing.T, p, i, e ambient.Set) *cap.Set {
	t.Helper()
	c := cap.NewSet()
	for flag, s := range map[cap.Flag]ambient.Set{cap.Permitted: p, cap.Inheritable: i, cap.Effective: e} {
		for bit := range s.All() {
			must(t, c.SetFlag(flag, true, cap.Value(bit)))
		}
	}
	return c
}

// someSets are empty, full, each capability alone, and random ones, within the
// given.
func someSets(t *testing.T, within ambient.Set, n int) []ambient.Set {
	t.Logf("-seed=%d", theSeed())
	r := rand.New(rand.NewPCG(theSeed(), 4))
	all := []ambient.Set{0, within}
	for c := range within.All() {
		all = append(all, ambient.SetOf(c))
	}
	for range n {
		all = append(all, within&ambient.Set(r.Uint64()), within&ambient.Set(r.Uint64()&r.Uint64()&r.Uint64()))
	}
	return all
}

func TestSetsReadAsLibcapReadsThem(t *testing.T) {
	known := ambient.Set(1)<<cap.MaxBits() - 1 // libcap takes no others
	for _, s := range someSets(t, known, 500) {
		text := "="
		if s != 0 {
			text = "cap_" + strings.Join(s.Names(), ",cap_") + "=p"
		}
		parsed, err := cap.FromText(text)
		if err != nil {
			t.Fatalf("libcap does not read %q: %v", text, err)
		}
		if diff, err := parsed.Cf(libcapSet(t, s, 0, 0)); err != nil || diff != 0 {
			t.Errorf("libcap reads %q as %v: %v", text, parsed, err)
		}
		if got, err := ambient.ParseList(s.String()); err != nil || got.Set != s {
			t.Errorf("%v is read back as %v, %v", s, got.Set, err)
		}
	}
}

// inMounts runs body as root with a tmpfs of its own, on which root writes file
// capabilities without anybody noticing.
func inMounts(t *testing.T, body func(t *testing.T, dir string)) {
	machine.in(t, func(t *testing.T, p place) {
		dir := filepath.Join(os.Getenv(dirEnv), "inner", "own")
		must(t, os.Mkdir(dir, 0o755))
		body(t, dir)
	})
}

func TestFileCapabilitiesAreEncodedAsLibcapWritesThem(t *testing.T) {
	require(t, "setcap")
	inMounts(t, func(t *testing.T, dir string) {
		path := filepath.Join(dir, "file")
		must(t, os.WriteFile(path, nil, 0o755))
		known := ambient.Set(1)<<cap.MaxBits() - 1
		sets := someSets(t, known, 100)
		r := rand.New(rand.NewPCG(theSeed(), 5))
		for _, p := range sets {
			i, effective, root, revision := pick(r, sets), one(r, 2), uint32(0), 2
			if one(r, 8) {
				root = 1 + r.Uint32N(100000)
			}
			want := program.VFSCaps{Permitted: p, Inheritable: i, RootID: root}
			e := ambient.Set(0)
			if effective { // libcap's effective is within the others, one bit in the file
				e = p | i
				want.Effective = e != 0
			}
			c := libcapSet(t, p, i, e)
			if root == 0 {
				if err := c.SetFile(path); err != nil {
					t.Fatalf("libcap does not write %v: %v", c, err)
				}
			} else { // the Go package (1.2.78) loses the root's id, the C tool writes it
				revision = 3
				output(t, "setcap", "-n", fmt.Sprint(root), c.String(), path)
			}
			attr := make([]byte, 64)
			n, err := unix.Getxattr(path, "security.capability", attr)
			must(t, err)
			got, err := program.ParseFileCaps(attr[:n])
			if err != nil || got != want {
				t.Errorf("libcap writes %v as % x, read as %+v, %v, want %+v", c, attr[:n], got, err, want)
			}
			back, err := cap.GetFile(path)
			must(t, err)
			if diff, err := back.Cf(c); err != nil || diff != 0 {
				t.Errorf("libcap reads % x as %v, it was %v", attr[:n], back, c)
			}
			if owner, err := back.GetNSOwner(); err != nil || owner != int(got.RootID) {
				t.Errorf("libcap reads % x as of root %d, %v, want %d", attr[:n], owner, err, got.RootID)
			}
			// The test's own writer is held to the same.
			x := xattr{p, i, want.Effective, revision, root}
			if own := x.encode(); !bytes.Equal(own, attr[:n]) {
				t.Errorf("libcap writes %v as % x, this test as % x", c, attr[:n], own)
			}
		}
	})
}

// TestInspectionSaysWhatTheKernelTakes holds internal/exec to what the test
// knows of its programs, which the sequences hold against the kernel. Set-id bits of
// an owner who is not mapped count there, and not for the kernel.
func TestInspectionSaysWhatTheKernelTakes(t *testing.T) {
	for _, w := range []world{machine, manyIDs, oneID, noID0} {
		t.Run(w.name, func(t *testing.T) {
			w.in(t, func(t *testing.T, p place) {
				known, foreign := 0, 0
				for _, want := range p.gen.targets {
					at, err := program.Find(want.Path, "")
					if err != nil {
						t.Errorf("%s: %v", want.Path, err)
						continue
					}
					got, err := at.Credentials(p.gen.host.Known)
					at.Close()
					if f := want.File; f.SetUID == nil && f.SetGID == nil && strings.Contains(want.Kind, ",made outside") {
						got.SetUID, got.SetGID = nil, nil
					}
					switch {
					case errors.Is(err, program.ErrForeignCaps) && w.nested && (strings.Contains(want.Kind, "-v3-root") || w.name == noID0.name):
						foreign++
					case err != nil:
						t.Errorf("%s: %v", want.Path, err)
					case !sameFile(got, want.File):
						t.Errorf("%s: it says %q, want %q", want.Path, target{File: got}.credentials(), want.credentials())
					default:
						known++
					}
				}
				t.Logf("%d programs, and %d of which it cannot be told", known, foreign)
				if known < 1000 {
					t.Errorf("only %d programs", known)
				}
			})
		})
	}
}

func same[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func sameFile(a, b ambient.File) bool {
	return same(a.Caps, b.Caps) && same(a.SetUID, b.SetUID) && same(a.SetGID, b.SetGID)
}
