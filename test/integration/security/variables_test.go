package security

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// No variable loosens what a command line says: a flag of a group closes the whole group. One that nobody knows starts
// nothing.
func TestNoVariableLoosensTheCommandLine(t *testing.T) {
	engine.Begin(t)
	const user = "-c net_admin -u 65532:65532 "
	granted := engine.Promised("65532", engine.NetAdmin)
	for _, c := range []struct {
		variables string
		start     string // capstart's options
		flags     string
		code      int // 0: the promise
		promise   engine.Promise
		says      string
	}{
		{variables: "CAPLAUNCH_ALLOW=all", flags: user + "--strict", code: engine.Unexpected},
		{variables: "CAPLAUNCH_SETS=ambient", flags: user + "--strict", code: engine.Unexpected},
		{variables: "CAPLAUNCH_OPTIONAL_CAPS=all", flags: user + "--strict", code: engine.Unexpected},
		{variables: "CAPLAUNCH_CAPS=all", flags: "-u 65532:65532 --strict", code: engine.Unexpected},
		{variables: "CAPLAUNCH_STRICT=false", flags: user + "--strict", code: engine.Unexpected},
		{variables: "CAPLAUNCH_ALLOW=all CAPLAUNCH_SETS=ambient", flags: user + "--allow=net_admin", code: engine.Unexpected},
		{variables: "CAPLAUNCH_SETS=ambient CAPLAUNCH_OPTIONAL_CAPS=all CAPLAUNCH_ALLOW=all", start: "-b 10c0 -p 10c0", flags: user + "--strict", promise: granted},
		{variables: "CAPLAUNCH_GROUPS=0,999 CAPLAUNCH_KEEP_GROUPS=1", start: "-G 0,7", flags: user, promise: granted},
		{variables: "CAPLAUNCH_USER=0:0", flags: user, promise: granted},
		{variables: "CAPLAUNCH_USER=0:0", flags: "-c net_admin --groups=5", code: engine.Failure},
		{variables: "CAPLAUNCH_NON_ROOT=keep", start: "-u 5 -g 5", flags: "-u 65532:65532", code: engine.Failure},
		{variables: "CAPLAUNCH_ALLOW_NEW_PRIVS=1 CAPLAUNCH_STRIP_FILE_CAPS=1", flags: user, promise: granted},
		{variables: "CAPLAUNCH_ALLOW_NEW_PRIVS=1", start: "-b 10c0 -p 10c0", flags: "-u 65532:65532 --strict", code: engine.Unexpected},
		{variables: "CAPLAUNCH_OPTIONAL_CAPS=all CAPLAUNCH_CAPS=all CAPLAUNCH_BOUNDING=keep", flags: user, promise: granted},
		{variables: "CAPLAUNCH_CAPS=all CAPLAUNCH_OPTIONAL_CAPS=all", flags: "-u 65532:65532 --bounding=drop", promise: engine.Promised("65532", 0).With("CapBnd", engine.Mask(0))},
		// Those that nobody knows, or that are mistyped.
		{variables: "CAPLAUNCH_STRCT=1", flags: user, code: engine.Failure, says: "CAPLAUNCH_STRICT in the place of CAPLAUNCH_STRCT"},
		{variables: "CAPLAUNCH_USR=5:5", flags: user, code: engine.Failure, says: "CAPLAUNCH_USER"},
		{variables: "CAPLAUNCH_NOSUCH=1", flags: user, code: engine.Failure, says: "unset CAPLAUNCH_NOSUCH"},
		{variables: "CAPLAUNCH_$(id)=1", flags: user, code: engine.Failure, says: "unset 'CAPLAUNCH_$(id)'"},
		{variables: "CAPLAUNCH_STRICT=true", flags: user, code: engine.Unexpected},
		{variables: "CAPLAUNCH_USER=4294967296", code: engine.Failure, says: "4294967296"},
		{variables: "CAPLAUNCH_USER= CAPLAUNCH_CAPS=net_admin", code: engine.Failure, says: "--user"},
		// What is not to be followed is not read.
		{variables: "CAPLAUNCH_CAPS=net_amdin CAPLAUNCH_OPTIONAL_CAPS=garbage CAPLAUNCH_GROUPS=+1", flags: user, promise: granted},
		{variables: "CAPLAUNCH_CAPS=net_amdin", flags: "-u 65532:65532", code: engine.Failure, says: "CAPLAUNCH_CAPS: "},
		{variables: "CAPLAUNCH_SETS=ambient", flags: user, code: engine.Failure, says: "there is none"},
		{variables: "CAPLAUNCH_PORTX=1", flags: user, code: engine.Failure, says: "CAPLAUNCH_PORTX"},
		// The honest ones: where the line says nothing of the group, they count.
		{variables: "CAPLAUNCH_CAPS=net_admin CAPLAUNCH_USER=65532:65532", promise: granted},
		{variables: "CAPLAUNCH_CAPS=net_admin CAPLAUNCH_ALLOW_NEW_PRIVS=1", flags: "-u 65532:65532", promise: granted.With("NoNewPrivs", "0")},
		{variables: "CAPLAUNCH_USER=65532:65532 CAPLAUNCH_GROUPS=999", flags: "-c net_admin", promise: granted.With("Groups", "999 65532")},
		{variables: "CAPLAUNCH_ALLOW=net_admin,setuid,setgid CAPLAUNCH_SETS=ambient", flags: user, promise: granted},
		{variables: "CAPLAUNCH_STRICT=", flags: user, promise: granted},
		// What Kubernetes makes of a Service is nobody's flag.
		{variables: "CAPLAUNCH_SERVICE_HOST=10.0.0.1 CAPLAUNCH_SERVICE_PORT=80 CAPLAUNCH_SERVICE_PORT_HTTP=80 CAPLAUNCH_PORT=tcp://10.0.0.1:80 CAPLAUNCH_PORT_80_TCP=tcp://10.0.0.1:80 " +
			"CAPLAUNCH_PORT_80_TCP_ADDR=10.0.0.1 CAPLAUNCH_WEB_SERVICE_HOST=10.0.0.1 CAPLAUNCH_WEB_PORT_443_TCP_PROTO=tcp", flags: user, promise: granted},
	} {
		t.Run(c.variables+" "+c.flags, func(t *testing.T) {
			run := func(mode string) engine.Result {
				words := slices.Concat([]string{engine.Capstart(t)}, strings.Fields(c.start), []string{"--", engine.Caplaunch(t)}, strings.Fields(c.flags), []string{"--", engine.Probe(t), mode})
				cmd := exec.Command(words[0], words[1:]...)
				cmd.Env = append([]string{"PATH=/bin"}, strings.Fields(c.variables)...)
				return engine.Command(t, cmd)
			}
			if c.code == 0 {
				c.promise.Want(t, run("state"))
				left := run("env").Stdout
				if services := strings.Count(c.variables, "_SERVICE_") + strings.Count(c.variables, "_PORT"); strings.Count(left, "CAPLAUNCH_") != strings.Count(c.variables, "CAPLAUNCH_") && services > 0 ||
					services == 0 && strings.Contains(left, "CAPLAUNCH_") {
					t.Errorf("PROGRAM's environment: %s", left)
				}
			} else if l := engine.Refused(t, run("state"), c.code); !strings.Contains(l.Msg+l.Hint, c.says) {
				t.Errorf("%q is not named: %+v", c.says, l)
			}
		})
	}
}
