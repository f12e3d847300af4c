//go:build linux

package oracle

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/caplaunch/caplaunch/internal/ambient"
	program "github.com/caplaunch/caplaunch/internal/exec"
)

// TestNamesAndNumbersAreLibcaps: the field's own library knows nothing of this repository.
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

// TestInspectionSaysWhatTheKernelTakes holds internal/exec to what the test knows of its programs, which the sequences
// hold against the kernel. Set-id bits of an owner who is not mapped count there, and not for the kernel.
func TestInspectionSaysWhatTheKernelTakes(t *testing.T) {
	for _, w := range []world{machine, manyIDs, oneID, noID0} {
		t.Run(w.name, func(t *testing.T) {
			w.in(t, func(t *testing.T, g generator) {
				known, foreign := 0, 0
				for _, want := range g.targets {
					at, err := program.Find(want.Path, "")
					if err != nil {
						t.Errorf("%s: %v", want.Path, err)
						continue
					}
					got, err := at.Credentials(g.host.Known)
					at.Close()
					if f := want.File; f.SetUID == nil && f.SetGID == nil && strings.Contains(want.Kind, ",made outside") {
						got.SetUID, got.SetGID = nil, nil
					}
					switch {
					case errors.Is(err, program.ErrForeignCaps) && w.nested && (strings.Contains(want.Kind, "-v3-root") || w.name == noID0.name):
						foreign++
					case err != nil:
						t.Errorf("%s: %v", want.Path, err)
					case !reflect.DeepEqual(got, want.File):
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
