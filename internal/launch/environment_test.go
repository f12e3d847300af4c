//go:build linux

package launch

import (
	"slices"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/internal/identity"
)

func TestEnvironmentIsThatOfTheNewUser(t *testing.T) {
	root := identity.Entry{Name: "root", Home: "/root"}
	relay := identity.Entry{Name: "relay", Home: "/home/relay", UID: 65532}
	none := identity.Entry{}
	type env = []string
	for name, c := range map[string]struct {
		start, user identity.Entry
		from        uint32 // the starting uid
		keep        bool
		env, want   env
	}{
		"root's own":                    {root, relay, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=root", "A=1"}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay", "A=1"}},
		"missing":                       {root, relay, 0, false, env{"A=1"}, env{"A=1", "HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"empty":                         {root, relay, 0, false, env{"HOME=", "USER=", "LOGNAME="}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"from the manifest":             {root, relay, 0, false, env{"HOME=/data", "USER=me", "LOGNAME=me"}, env{"HOME=/data", "USER=me", "LOGNAME=me"}},
		"each by itself":                {root, relay, 0, false, env{"USER=me", "HOME=/root"}, env{"USER=me", "HOME=/home/relay", "LOGNAME=relay"}},
		"no entry":                      {root, none, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=root"}, env{"HOME=/"}},
		"no entry and nothing":          {root, none, 0, false, env{}, env{"HOME=/"}},
		"no entry, from the manifest":   {root, none, 0, false, env{"HOME=/data", "USER=me"}, env{"HOME=/data", "USER=me"}},
		"no entry of either":            {none, none, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=root"}, env{"HOME=/"}},
		"no entry of the start, HOME=/": {none, relay, 0, false, env{"HOME=/"}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"another home of root":          {identity.Entry{Name: "toor", Home: "/var/root"}, relay, 0, false, env{"HOME=/root", "USER=root", "LOGNAME=toor"}, env{"HOME=/root", "USER=root", "LOGNAME=relay"}},
		"HOME=/ where root has one":     {root, relay, 0, false, env{"HOME=/"}, env{"HOME=/", "USER=relay", "LOGNAME=relay"}},
		"of somebody else":              {identity.Entry{Name: "alice", Home: "/home/alice", UID: 7}, relay, 7, false, env{"HOME=/home/alice", "USER=alice"}, env{"HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"somebody without an entry":     {none, relay, 7, false, env{"HOME=/", "USER=root"}, env{"HOME=/home/relay", "USER=root", "LOGNAME=relay"}},
		"twice":                         {root, relay, 0, false, env{"HOME=/root", "A=1", "HOME=/x", "USER=root", "USER="}, env{"HOME=/home/relay", "A=1", "USER=relay", "LOGNAME=relay"}},
		"twice, the first stays":        {root, relay, 0, false, env{"HOME=/x", "HOME=/root", "USER=me", "LOGNAME=me"}, env{"HOME=/x", "HOME=/root", "USER=me", "LOGNAME=me"}},
		"no entry, twice":               {root, none, 0, false, env{"HOME=/data", "USER=root", "USER=me"}, env{"HOME=/data"}},
		"no entry of the start, /data":  {none, relay, 0, false, env{"HOME=/data"}, env{"HOME=/data", "USER=relay", "LOGNAME=relay"}},
		"byte for byte":                 {root, relay, 0, false, env{"", "HOME", "=x", "A=\xff", "A=1", "homE=/"}, env{"", "HOME", "=x", "A=\xff", "A=1", "homE=/", "HOME=/home/relay", "USER=relay", "LOGNAME=relay"}},
		"an entry without a home":       {root, identity.Entry{Name: "relay", UID: 65532}, 0, false, env{"HOME=/root"}, env{"HOME=/", "USER=relay", "LOGNAME=relay"}},
		"kept":                          {root, relay, 0, true, env{"HOME=/root", "USER=root"}, env{"HOME=/root", "USER=root"}},
		"no switch":                     {relay, relay, 65532, false, env{"HOME=/root", "USER=root"}, env{"HOME=/root", "USER=root"}},
	} {
		given := slices.Clone(c.env)
		l := Launch{KeepEnv: c.keep, Environ: c.env, Now: ambient.State{UID: ambient.Same(c.from)}, Answer: identity.Answer{Start: c.start, New: c.user}}
		l.Plan.AfterSteps.UID = ambient.Same(65532)
		if got := l.environment(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
		if !slices.Equal(given, c.env) {
			t.Errorf("%s: what was received was changed: %q", name, c.env)
		}
	}
}
