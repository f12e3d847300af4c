package ambient_test

import (
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	. "github.com/caplaunch/caplaunch/internal/ambient"
)

const (
	chown    Cap = 0
	netAdmin Cap = 12
	netRaw   Cap = 13
)

var (
	linux   = Host{Known: upTo(40), Ambient: true, SetGroups: true}
	docker  = Set(0xa80425fb) // the default 14
	minimal = SetOf(netAdmin, CapSetUID, CapSetGID)
	relay   = &User{UID: 65532, GID: 65532, Groups: NewGroups(65532)}
	rootID  = &User{Groups: NewGroups(0)}
	wants   = List{Set: SetOf(netAdmin)}
)

// upTo is the set of all capabilities from 0 to last.
func upTo(last Cap) Set { return Set(1)<<last<<1 - 1 }

// root is uid 0 as container runtimes start it: P=E=B, I=A=0.
func root(b Set) State { return State{Permitted: b, Effective: b, Bounding: b} }

// user is uid 65532 with the same set in P, I, E and A.
func user(p, b Set) State {
	return State{Permitted: p, Inheritable: p, Effective: p, Ambient: p, Bounding: b, UID: Same(65532), GID: Same(65532)}
}

// with returns s after change.
func with(s State, change func(*State)) State {
	change(&s)
	return s
}

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 takes TEST_SEED, or the time")

// random is a source whose seed is logged.
func random(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s, _ = strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	}
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", s)
	return rand.New(rand.NewPCG(s, 0))
}
