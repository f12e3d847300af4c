//go:build linux

package launch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
)

// A recorder is the Sim, which notes what is asked of it. One call fails, or reports success and does nothing.
type recorder struct {
	ambient.Sim
	death, now int // parent-death signal at the start, and since
	calls      []string
	fault      int // the number of the call from 1 on; 0 is none
	lies       bool
}

var errFault = errors.New("a fault")

// call reports whether the call is made.
func (r *recorder) call(format string, args ...any) (made bool, err error) {
	if r.calls = append(r.calls, fmt.Sprintf(format, args...)); len(r.calls) != r.fault {
		return true, nil
	}
	if r.lies {
		return false, nil
	}
	return false, errFault
}

func (r *recorder) State() (ambient.State, error) {
	_, err := r.call("state")
	return r.Now, err
}

func (r *recorder) Start() (ambient.State, ambient.Host, error) {
	_, err := r.call("start")
	return r.Now, r.On, err
}

func (r *recorder) Do(s ambient.Step) error {
	made, err := r.call("%v", s)
	if made {
		err = r.Sim.Do(s)
		if _, isUID := s.(ambient.SetResUID); isUID {
			r.now = 0
		}
	}
	return err
}

func (r *recorder) Hide() error {
	_, err := r.call("hide")
	return err
}

func (r *recorder) DeathSignal() (int, error) {
	_, err := r.call("read death signal")
	return r.now, err
}

func (r *recorder) SetDeathSignal(signal int) error {
	made, err := r.call("death signal %d", signal)
	if made {
		r.now = signal
	}
	return err
}

// explain runs a launch on the Sim up to the execve.
func (r *recorder) explain() (said []string, err error) {
	caps := ambient.SetOf(ambient.Cap(12), ambient.CapSetUID, ambient.CapSetGID)
	r.On = ambient.Host{Known: caps, Ambient: true, SetGroups: true}
	r.Now = ambient.State{Permitted: caps, Effective: caps, Bounding: caps, Groups: ambient.NewGroups(0, 7)}
	r.calls, r.now = nil, r.death
	user := identity.Name{Text: "65532", ID: 65532, Numeric: true}
	l := Launch{
		User: &identity.Spec{User: user, Group: &user}, Argv: []string{"/bin/true"}, Kernel: r, Explain: true, Files: identity.Etc,
		Say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) },
	}
	l.Request.Required.Set = ambient.SetOf(ambient.Cap(12))
	return said, l.Run()
}

func TestAFaultOfTheKernelEndsTheLaunchAtOnce(t *testing.T) {
	for death := range 2 {
		r := &recorder{death: 9 * death}
		said, err := r.explain()
		all := slices.Clone(r.calls)
		if err != nil || r.now != r.death || all[len(all)-1] != "state" || slices.Contains(all, "death signal 0") || !strings.Contains(strings.Join(said, "\n"), "PROGRAM does not get: 7") {
			t.Fatalf("%v\n%q\n%q", err, all, said)
		}
		for r.fault = 1; r.fault <= len(all); r.fault++ {
			r.lies = false
			if _, err := r.explain(); !errors.Is(err, errFault) || len(r.calls) != r.fault {
				t.Errorf("%q fails: %v, after %d calls", all[r.fault-1], err, len(r.calls))
			}
			r.lies = true
			_, err := r.explain()
			if isRead := strings.Contains("state start hide read death signal", all[r.fault-1]); (err == nil) != isRead {
				t.Errorf("%q lies: %v", all[r.fault-1], err)
			}
		}
	}
}
