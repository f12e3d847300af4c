package faults

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/test/integration/engine"
)

// A scenario is a launch that works when nothing goes wrong, or one that must be refused whatever goes wrong.
type scenario struct {
	name     string
	start    []string // words that make the starting state, in front of caplaunch, and of strace
	inner    []string // the same, behind strace
	flags    []string
	path     string         // of the program, or the probe
	fileCaps string         // file capabilities of caplaunch itself
	promise  engine.Promise // more of it is learned without a fault
	code     int            // exit status of the refusal, 0 for a launch that works
}

const netAdmin = engine.NetAdmin

// scenarios are the ways through the launch that make different calls, each tried once without a fault.
func scenarios(t testing.TB) []*scenario {
	t.Helper()
	engine.RequireRoot(t)
	from := func(options string) []string {
		return append(append([]string{capstart(t)}, strings.Fields(options)...), "--")
	}
	setUID := engine.Copy(t, probe(t), 0o755|os.ModeSetuid)
	words, granted := strings.Fields, credentials(65532, "65532", netAdmin)
	admin := func(more ...string) []string { return append(words("-c net_admin -u 65532:65532"), more...) }
	list := []*scenario{
		{
			name: "root becomes a user with capabilities", start: from("-I 13 -I 15 -I 35 -M 10 -M 1 -M 64"), flags: words("-c net_admin,net_raw -u 65532:65532"),
			promise: credentials(65532, "65532", netAdmin|1<<unix.CAP_NET_RAW),
		},
		{name: "root stays root with less", start: from("-G 0"), flags: words("-c net_admin -u 0:0"), promise: credentials(0, "0", netAdmin)},
		{
			name: "a user keeps some of its ambient capabilities", start: from("-u 65532 -g 65532 -G 5,65532 -p 3000 -i 3000 -a 3000"),
			flags: words("-c net_admin --non-root=keep"), promise: granted.With("Groups", "5 65532"),
		},
		{name: "the bounding set is cut", start: from("-b 31c0"), flags: admin("--bounding=drop"), promise: granted},
		{name: "a copy without file capabilities", flags: admin("--strip-file-caps"), path: privileged(t), promise: granted},
		{
			name: "a name brings its groups", flags: words("-c net_admin -u faults"), promise: credentials(40001, "40001 40002 40003", netAdmin),
			start: engine.Accounts(t, "root:x:0:0:root:/root:/bin/sh\nfaults:x:40001:40001::/home/faults:/bin/sh\n",
				"root:x:0:\nfaults:x:40001:\none:x:40002:faults\ntwo:x:40003:root,faults\n"),
		},
		{name: "a parent-death signal is kept", inner: []string{starter(t, "stage"), "pdeathsig=12", "--"}, flags: admin(), promise: granted},
		{name: "the groups received are kept", start: from("-G 0,5,6"), flags: admin("--keep-groups"), promise: granted.With("Groups", "5 6 65532")},
		{name: "another group", start: from("-u 65532 -g 65532 -G 5"), flags: words("-u 65532:65532"), code: engine.Failure},
		{name: "a group too many", start: from("-u 65532 -g 65532 -G 5,65532"), flags: words("-u 65532:65532"), code: engine.Failure},
		{name: "started set-uid", inner: from("-u 65532,0,0 -g 65532"), flags: admin(), code: engine.Failure},
		{name: "started set-gid", inner: from("-u 65532 -g 65532,5,5 -G none"), flags: words("-u 65532:65532 --keep-groups"), code: engine.Failure},
		{name: "started set-uid, and nobody is named", inner: from("-u 65532,40005,40005 -g 65532 -G none"), code: engine.Failure},
		{name: "started set-gid, and nobody is named", inner: from("-u 65532 -g 65532,5,5 -G none"), code: engine.Failure},
		{name: "started with file capabilities", inner: from("-u 65532 -g 65532 -G none"), fileCaps: "cap_net_admin=+ep", flags: admin(), code: engine.Failure},
		{name: "started with file capabilities, and inheritable ones", inner: from("-u 65532 -g 65532 -G none -i 1000"), fileCaps: "cap_net_admin=+ep", flags: words("-c net_admin"), code: engine.Failure},
		{name: "beyond the allowlist", start: from("-b 30c0 -p 30c0"), flags: admin("--strict"), code: engine.Unexpected},
		{name: "ambient beyond the allowlist", start: from("-u 65532 -g 65532 -G 65532 -p 3000 -i 3000 -a 3000"), flags: words("-c net_admin --strict"), code: engine.Unexpected},
		{name: "a capability is missing", start: from("-b 20c0 -p 20c0"), flags: admin(), code: engine.NotGranted},
		{name: "a capability is only in the bounding set", start: from("-p 20c0 -i 0 -n"), flags: admin(), code: engine.NotGranted},
		{
			name: "an id that is not mapped", inner: []string{starter(t, "userns"), "-G", "none", "-k", "-m", "0 0 5", "-n", "0 0 5,65534 100000 1", "-u", "7,7,7", "-g", "0,0,0", "--"},
			flags: words("-u 65534:0"), code: engine.Failure,
		},
		{name: "a program with file capabilities", flags: admin(), path: privileged(t), code: engine.Failure},
		{name: "a script whose interpreter has file capabilities", flags: admin(), path: script(t, privileged(t)), code: engine.Failure},
		{name: "a script whose interpreter is set-uid", flags: words("-u 65532:65532 --allow-new-privs"), path: script(t, setUID), code: engine.Failure},
		{name: "root regains the bounding set", flags: words("-c net_admin -u 0:0 --allow-new-privs"), code: engine.Failure},
	}
	for _, s := range list {
		if s.path == "" {
			s.path = probe(t)
		}
		if s.fileCaps != "" {
			s.fileCaps = engine.WithCaps(t, engine.Caplaunch(t), s.fileCaps)
		}
		s.learn(t)
	}
	return list
}

// argv is the command line of caplaunch.
func (s *scenario) argv(caplaunch string) []string {
	if s.fileCaps != "" {
		caplaunch = s.fileCaps
	}
	return append(append([]string{caplaunch}, s.flags...), "--", s.path, "all")
}

// learn launches without a fault. What was promised is checked word by word, and what else the probe sees becomes
// part of the promise: it must not change either.
func (s *scenario) learn(t testing.TB) {
	t.Helper()
	e := run(t, engine.Timeout, slices.Concat(s.start, s.inner, s.argv(engine.Caplaunch(t)))...)
	if s.code != 0 {
		if o, problem := s.judge(e); o != refused || e.Code != s.code {
			t.Fatalf("%s: without a fault it ends with %d: %s %v", s.name, s.code, problem, e.Result)
		}
		return
	}
	if e.Code != 0 || e.Stdout == "" {
		t.Fatalf("%s: it does not even work without a fault: %v", s.name, e.Result)
	}
	if diff := s.promise.Broken(e.Stdout); diff != "" {
		t.Fatalf("%s: without a fault %s", s.name, diff)
	}
	s.promise = engine.ParseProbe(e.Stdout)
	maps.DeleteFunc(s.promise, func(key, _ string) bool { return slices.Contains(changing, key) })
}

// judge is judge, with the promise of the scenario and more of it. A launch that must be refused promises nothing.
func (s *scenario) judge(e end, more ...string) (outcome, string) {
	if s.code == 0 {
		return judge(s.promise.With(more...), e)
	}
	if e.Stdout != "" {
		return broken, "the program runs where it must not"
	}
	return judge(nil, e)
}

// outOfReach reports whether a lie about a call cannot be told from the truth: an id that is not mapped reads the same
// before it is set and after.
func (s *scenario) outOfReach(op string) bool {
	return s.name == "an id that is not mapped" && op == "setresuid"
}

// privileged is a copy of the probe with net_raw=ep.
func privileged(t testing.TB) string { return engine.WithCaps(t, probe(t), "cap_net_raw=+ep") }

// script is run by the interpreter, which is given "all" and not its path.
func script(t testing.TB, interpreter string) string {
	return engine.Write(t, "script", "#!"+interpreter+" all\n")
}
