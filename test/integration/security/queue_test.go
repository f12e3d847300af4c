package security

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// asRoot starts a program as the root of a user namespace that is somebody else outside, so that no queue but that
// user's is filled.
func asRoot(t testing.TB, outside int) []string {
	ids, m := fmt.Sprintf("%[1]d,%[1]d,%[1]d", outside), fmt.Sprintf("0 %d 100", outside)
	return []string{engine.Starter(t, "userns"), "-u", ids, "-g", ids, "-G", "none", "-m", m, "-n", m, "--"}
}

// The queue of signals is one for all processes of a user, in every container. A process without any capability can fill
// it. A launch needs no signal.
func TestAFullQueueOfSignalsStopsNoLaunch(t *testing.T) {
	begin(t)
	fill := engine.Starter(t, "fill")
	for n, flags := range []string{"-c net_admin -u 5:5", "-c net_admin -u 0:0", "-c net_admin,net_raw -u 5:5 --bounding=drop", "-u 5:5 --strip-file-caps"} {
		for _, who := range [][]string{nil, {"-u", "5"}} { // of the old user, and of the new one
			start := slices.Concat(asRoot(t, 77000+1000*n), []string{fill}, who, []string{"--"})
			r := engine.Exec(t, slices.Concat(start, []string{engine.Caplaunch(t)}, strings.Fields(flags), []string{"--", engine.Probe(t)})...)
			if r.Code != 0 || engine.ParseProbe(r.Stdout)["NoNewPrivs"] != "1" {
				t.Errorf("%s, the queue of %v is full: %v", flags, who, r)
			}
		}
	}
}

// explain reaches every thread of its process by a signal. Where none can be queued it says so, and does not wait.
func TestExplainRefusesAFullQueueOfSignals(t *testing.T) {
	begin(t)
	const other = 78901
	for _, c := range []struct {
		start  []string
		filled []string // whose queue
		user   string
		told   string
	}{
		{asRoot(t, 87000), nil, "5:5", "uid 0"},
		{nil, []string{"-u", strconv.Itoa(other)}, fmt.Sprintf("%d:%[1]d", other), fmt.Sprintf("uid %d", other)}, // after the switch
	} {
		explain := []string{engine.Caplaunch(t), "explain", "-c", "net_admin", "-u", c.user, "--", engine.Probe(t)}
		r := engine.Exec(t, slices.Concat(c.start, []string{engine.Starter(t, "fill")}, c.filled, []string{"--"}, explain)...)
		if said := flat(r.Stdout); r.Code != engine.Failure || !strings.Contains(said, "no signal can be queued") ||
			!strings.Contains(said, "run needs none") || !strings.Contains(said, "the queue of "+c.told+" ") {
			t.Errorf("the queue of %s is full: %v", c.told, r)
		}
	}
}

// flat is text in one line, with single spaces.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
