// Package mutants breaks caplaunch in one place at a time: a mutant that the tests of its room pass is a test that is
// missing.
package mutants

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

var (
	all   = flag.Bool("all", false, "try all mutants, not a fixed share of every room")
	share = flag.Int("share", 5, "how many mutants of a room to try without -all")
	only  = flag.String("mutant", "", "try only the mutants whose room and name this regular expression matches, all of them")
)

func TestMain(m *testing.M) { engine.Main(m) }

// A judge is a test that has to find a mutant out.
type judge struct {
	dir  string // of its package
	run  string
	args []string
	says string // what it says then, lest it fails for another reason; "" is the failure of a test
}

// A room is what is broken, and who finds it out: the first of several.
type room struct {
	dir    string
	files  string // those that have to match; "" is all
	judges []judge
}

const (
	disagrees = `the model disagrees with the kernel`
	fails     = `(?m)^\s*--- FAIL: |^panic: |^fatal error: `
)

// beside are the tests beside the code.
func beside(dir string) judge { return judge{dir: dir, run: "."} }

// integration is a package of test/integration that starts caplaunch.
func integration(dir, run string) judge { return judge{dir: "test/integration/" + dir, run: run} }

var rooms = []*room{
	{dir: "internal/ambient", files: "rules|plan|allow", judges: []judge{
		beside("internal/ambient"),
		{"test/integration/oracle", "^TestModelAgreesAsRoot$", []string{"-n=20000"}, disagrees},
		{"test/integration/oracle", "^TestMoreGroupsThanNGROUPS_MAXAreRefused$", nil, disagrees},
		{"test/integration/oracle", "^TestModelAgreesWhereOneIDIsMapped$", []string{"-n=20000"}, disagrees},
	}},
	// A Kernel that is wrong can already fail to take up the starting state.
	{dir: "internal/ambient/linux", judges: []judge{
		beside("internal/ambient/linux"),
		{"test/integration/oracle", "^Test(ModelAgrees(AsRoot|ThroughAllThreads)$|MoreGroups)", []string{"-n=1200", "-doors=600"}, disagrees +
			`|starting state|thread \d+ has|no signal can be queued|not enough to start with|results? differs? between threads|no answer about the rule for ids|: it reports success without an answer`},
	}},
	{dir: "internal/launch", judges: []judge{
		beside("internal/launch"), starts, integration("transparency", plain), integration("security", "^Test(NobodyA|TheFirst|AQuestion|KeepGroupsL|AGroup|AnID|AProcessH)"), integration("words", "ExplainC|"+quick),
	}},
	{dir: "internal/exec", judges: []judge{
		{dir: "internal/exec", run: ".", args: []string{"-test.skip=Access|Large"}},
		integration("programs", "ALook|EveryPriv|Privilege|AScript|Strip|TooMany|FileCaps"), integration("security", "^Test(ASwapped|APath|NobodyA)"), beside("internal/exec"),
	}},
	{dir: "internal/identity", judges: []judge{beside("internal/identity")}},
	{dir: "internal/origin", judges: []judge{
		{dir: "internal/origin", run: "^Test(Answers|AnAnswer|Without|Restore|Not|Set)"}, integration("transparency", plain), integration("transparency", "^Test(Each|Ignored|WhatCannot)"), integration("security", "^Test(Signals|AQuestion)"), integration("words", "CheckOfN|Version"),
	}},
	{dir: "internal/grant", judges: []judge{beside("internal/grant")}},
	{dir: "cmd/caplaunch", files: "main|cli|run|ask|check|variables|status|signals|report", judges: []judge{
		{dir: "cmd/caplaunch", run: ".", args: []string{"-test.skip=Poller|Init|Rooms|Pure|Door|Reader"}},
		integration("words", quick), integration("security", "^Test(NoVariable|APrivileged|AHint|CheckSees|TheFirst|Strict|ExplainRef)"), integration("words", "ExplainSays|EveryOtherHint|ExplainFor|InstallC"),
	}},
	{dir: "cmd/caplaunch", files: "install", judges: []judge{integration("words", "^TestInstall(C|R|I|W)"), integration("security", "^Test(APrivileged|InstallThat)")}},
}

// Tests that need no engine.
const (
	plain = "^Test(Nothing|Closed|Only|Cond|Terminal|Parent|Pipes|APipe|TheSession|Nobody|IgnoreS|Env)"
	quick = "Quiet|Mistakes|Variables|Compares|CheckOf|LinesAre|Version|ComposeKeys|TestAll|Pasted|Sudo|Termination|TheHintOf|AGrantWithout|ExplainJSON|RootOfAPods|ASetUID"
)

var starts = judge{dir: "test/integration/security", run: "Random", args: []string{"-starts=60"}}

// A build is the binaries with all mutants in them, by the folder of their package.
type build struct {
	mutants  []mutant
	binaries map[string][]byte
}

const program = "cmd/caplaunch/" // no test

func goList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = engine.Root
	r := engine.Command(t, cmd)
	if r.Code != 0 {
		t.Fatal(r)
	}
	return r.Stdout
}

// mutateAll builds every mutant of the rooms into the tests of their judges, and into caplaunch.
func mutateAll(t *testing.T) *build {
	b := &build{binaries: map[string][]byte{program: nil}}
	contents := map[string]string{}
	exports := map[string]string{}
	for line := range strings.Lines(goList(t, "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", "./...")) {
		path, export, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = export
	}
	names := map[string]int{}
	for _, r := range rooms {
		m := &mutator{found: func(name string) int {
			if names[name]++; names[name] > 1 {
				name += fmt.Sprintf(", number %d", names[name])
			}
			b.mutants = append(b.mutants, mutant{len(b.mutants) + 1, name, r})
			return len(b.mutants)
		}}
		var paths []string
		for name := range strings.FieldsSeq(goList(t, "-f", `{{join .GoFiles " "}}`, "./"+r.dir)) {
			paths = append(paths, filepath.Join(engine.Root, r.dir, name))
		}
		files, err := m.load(paths, exports)
		engine.Must(t, err)
		for i, f := range files {
			if regexp.MustCompile(r.files).MatchString(filepath.Base(paths[i])) {
				source, err := m.mutate(f)
				engine.Must(t, err)
				contents[paths[i]] = string(source)
			}
		}
		contents[filepath.Join(engine.Root, r.dir, "mutate.go")] = fmt.Sprintf(helpers, files[0].Name.Name)
		for _, j := range r.judges {
			b.binaries[j.dir] = nil
		}
	}
	overlay, dir := engine.Overlay(t, contents), engine.TempDir(t)
	var mu sync.Mutex
	unit.InParallel(t, slices.Collect(maps.Keys(b.binaries)), 50, func(of string) {
		path := filepath.Join(dir, strings.ReplaceAll(of, "/", "_"))
		cmd := exec.Command("go", "test", "-c", "-vet=off", "-o", path, ".")
		if of == program {
			cmd = exec.Command("make", "-C", engine.Root, "build", "BIN="+path)
		}
		cmd.Dir, cmd.Env = filepath.Join(engine.Root, of), append(os.Environ(), "GOFLAGS="+overlay)
		if r := engine.Command(t, cmd); r.Code != 0 {
			t.Error(r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		b.binaries[of] = []byte(engine.Read(t, path))
	})
	if t.Failed() {
		t.Fatal("the mutants do not build")
	}
	return b
}

// write makes a copy of a binary with a mutant at work.
func write(path string, program []byte, n int) error {
	syscall.ForkLock.RLock() // no other child may have it open for writing
	defer syscall.ForkLock.RUnlock()
	number := func(n int) []byte { return binary.NativeEndian.AppendUint64([]byte(mark), uint64(n)) }
	_ = os.Remove(path)
	return os.WriteFile(path, bytes.ReplaceAll(program, number(0), number(n)), 0o755)
}

// contained keeps a mutant, which is root, from what belongs to the machine: one of install would put itself in the
// place of /dev/null, one that never ends would go on, and one that prints without end would fill the memory. The shell
// is the process 1 of their namespace.
const contained = `ulimit -v 6000000; mount --make-rprivate /; umount -l /proc; mount -t proc proc /proc
for d in /dev /etc /usr; do mount --rbind $d $d; mount -o remount,bind,ro $d; done
"$@"; exit $?`

// judge reports whether a mutant is found out; dir is the caller's own. What hangs is.
func (b *build) judge(t *testing.T, dir string, j judge, m mutant) (caught bool, out string) {
	test, caplaunch := filepath.Join(dir, "test"), filepath.Join(dir, "caplaunch")
	if err := errors.Join(write(test, b.binaries[j.dir], m.n), write(caplaunch, b.binaries[program], m.n)); err != nil {
		t.Error(err)
		return false, ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	argv := append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", contained, "sh", test, "-test.run=" + j.run, "-test.v", "-test.failfast", "-test.timeout=2m"}, j.args...)
	cmd := exec.CommandContext(ctx, "unshare", argv...)
	cmd.Dir, cmd.WaitDelay = filepath.Join(engine.Root, j.dir), 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a mutant may signal its group
	cmd.Env = append(os.Environ(), "TEST_REQUIRE=1", "TEST_SEED=1", "TEST_BIN="+caplaunch)
	text, err := cmd.CombinedOutput()
	says := j.says
	if says == "" {
		says = fails
	}
	killed := err != nil && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() >= 128 // as by a lack of memory
	return ctx.Err() != nil || killed || err != nil && regexp.MustCompile(says).Match(text), string(text)
}

// TestEveryMutantIsFoundOut is the test of the tests.
func TestEveryMutantIsFoundOut(t *testing.T) {
	engine.RequireRoot(t)
	engine.Require(t, "go", "make", "gcc", "unshare")
	b := mutateAll(t)
	for _, a := range alike {
		if !slices.ContainsFunc(b.mutants, func(m mutant) bool { return regexp.MustCompile(a.names).MatchString(m.name) }) {
			t.Errorf("no mutant: %s", a.names)
		}
	}
	wanted := regexp.MustCompile(*only)
	chosen := slices.DeleteFunc(slices.Clone(b.mutants), func(m mutant) bool { return !wanted.MatchString(m.room.dir + "/" + m.name) })
	// In an order that a change of the code does not change for the others.
	hash := func(m mutant) uint32 { return crc32.ChecksumIEEE([]byte(m.name)) }
	slices.SortFunc(chosen, func(a, b mutant) int { return cmp.Compare(hash(a), hash(b)) })
	isAll := *all || *only != ""
	if !isAll {
		chosen = slices.DeleteFunc(chosen, isAlike) // they take the longest
		taken := map[*room]int{}
		chosen = slices.DeleteFunc(chosen, func(m mutant) bool {
			taken[m.room]++
			return taken[m.room] > *share
		})
	}
	sound := map[string]func() bool{} // whether a judge passes what is not broken: else it says nothing of a mutant
	for _, r := range rooms {
		for _, j := range r.judges {
			sound[fmt.Sprint(j)] = sync.OnceValue(func() bool {
				failed, out := b.judge(t, engine.TempDir(t), j, mutant{})
				if failed {
					t.Errorf("%s %s fails without a mutant:\n%s", j.dir, j.run, out[max(0, len(out)-1500):])
				}
				return !failed
			})
		}
	}
	var mu sync.Mutex
	caught, same, spent := map[*room]int{}, map[*room]int{}, map[*room]time.Duration{}
	dirs := make(chan string, runtime.GOMAXPROCS(0)) // one for each that runs at a time
	for range cap(dirs) {
		dirs <- engine.TempDir(t)
	}
	unit.InParallel(t, chosen, 50, func(m mutant) {
		begin, found, dir := time.Now(), false, <-dirs
		for _, j := range m.room.judges {
			if found, _ = b.judge(t, dir, j, m); found {
				found = sound[fmt.Sprint(j)]()
				break
			}
		}
		dirs <- dir
		mu.Lock()
		defer mu.Unlock()
		switch {
		case found:
			caught[m.room]++
		case isAlike(m):
			same[m.room]++
		default:
			t.Errorf("lives: %d %s", m.n, m.name)
		}
		spent[m.room] += time.Since(begin)
	})
	for _, r := range rooms {
		count := func(list []mutant) int {
			return len(slices.DeleteFunc(slices.Clone(list), func(m mutant) bool { return m.room != r }))
		}
		t.Logf("%-24s %4d of %4d mutants, %4d found out, %2d change nothing, %.0f s of one core", r.dir, count(chosen), count(b.mutants), caught[r], same[r], spent[r].Seconds())
	}
}

// alike are mutants that nobody can find out, and why.
var alike = []struct{ names, why string }{
	{`^read\.go \w+\.groups: n > ambient\.MaxGroups becomes false`, "it only saves memory"},
	{`^read\.go ReadFile: err == unix\.EINTR becomes false`, "only a file system in user space answers so"},
	{`^plan\.go NewPlan: p\.CheckFile`, "a guard: no plan ends elsewhere, as the proof by exhaustion shows"},
	{`^launch\.go Launch\.identify: r\.(User|Groups) != nil becomes true`, "it only saves reading two files"},
	{`^process\.go Launch\.openPipe: err != nil becomes false`, "what fcntl does not tell gives no bit"},
	{`^file\.go File\.readCaps: (unix\.Stat\(f\.Path, &now\) != nil|now\.Dev != f\.Stat\.Dev) becomes false`, "what is not told has the number 0; two mounts would need a file of the same number"},
	{`^file\.go File\.isUnchanged: now\.(Dev|Ino|Size|Mode|Uid|Gid|Mtim) `, "ctime changes with it, but for a write in the same tick of the clock"},
	{`^memfd\.go memfd: (fd <= 2|err == nil|unix\.EBADF) `, "only somebody who answers for the kernel gives such a descriptor"},
	{`^replace\.go Program\.Ask: unix\.\w+ becomes another`, "only an older kernel, or a filter, answers so"},
	{`^replace\.go execveat: ((argv|env)?[eE]rr != nil becomes false|unix\.EINVAL becomes zero)`, "no word that came through execve has a NUL"},
	{`^files_linux\.go (Files\.memberships: bytes\.Contains|scanLines: bytes\.Contains\(buf)`, "it only saves time"},
	{`^files_linux\.go scanLines: len\(buf\) (== cap|>= longest becomes off)`, "it only decides how much memory is taken"},
	{`^origin_linux\.go current: noMask`, "one lie alone changes nothing, or is seen otherwise"},
	{`^cli\.go scanned\.read: ((s\.used\[f\.name\]|isArg|required) becomes true|s\.known becomes false)`, "kong is given more flags than it needs, which only costs time"},
	{`^signals\.go parseSignal: i > 0 becomes off by one`, "no word is empty"},
	{`^run_linux\.go app\.hinter: (h\.Request\.RootParent|grant\.(Host|Systemd|Namespace) becomes)`, "only its place shows it: TestAnInitReachesTheProgram"},
	{`^file\.go File\.checkExecutable: (opens|0o111|err == nil|f\.Stat\.Mode.*) becomes (all|true)`, "what is not sure is left to execve, which refuses it"},
	{`^install_linux\.go openFolder: unix\.Fstatat.* == nil becomes true`, "what is not told is no symlink"},
	{`^memfd\.go memfd: (err == unix\.EINVAL becomes false|fd, err = .*|name becomes zero, number 2)`, "only Linux before 6.3 answers so"},
	{`^install_linux\.go openFolder: flags becomes zero$`, "the way begins at a folder that can be read"},
	{`^run_linux\.go newApp: linux\.OneThread\(\) becomes zero`, "it is the zero value"},
	{`^variables\.go (hasVariables: |(line\.variables|programEnviron): hasVariables\(environ\) becomes true)`, "it only saves time"},
	{`^origin_linux\.go init: now\.ignored becomes nothing`, "only a plain build that is process 1 shows it, and mutants have the entry"},
	{`^origin_linux\.go Restore: err (!= nil becomes false$|== nil becomes true)`, "it is refused either way"},
	{`^origin_linux\.go init: SignalsOf\(4`, "only a fault of caplaunch's own shows it"},
	{`^signals\.go parseSignal: base > 0 becomes (true|off by one)$`, "no word is empty"},
	{`^file\.go ParseFileCaps: len\(b\) < 4 becomes off`, "four bytes are no attribute either"},
	{`^shebang\.go ParseShebang: end < 0 becomes off`, "the line begins with two other bytes"},
	{`^replace\.go Program\.Ask: argv = p\.argv`, "the kernel counts the words, and a few more or less decide nothing"},
	{`^file\.go File\.readCaps: caps becomes zero(, number 2)?$`, "the kernel refuses these questions whatever they bring"},
	{`^file\.go Program\.Credentials: c becomes zero(, number [234])?$`, "it is zero there"},
	{`^check_linux\.go threadsOf: (whole becomes (true|false)$|isNew\(thread\) becomes true)`, "it only saves reading, or a number comes again in the very moment"},
	{`^cli\.go (appendFlags: f\.Tag = |scanned\.read: err != nil becomes false$|printUsage: err (!= nil becomes false(, number 2)?$|== nil becomes true))`, "it only saves time; the grammar is right"},
	{`^run_linux\.go app\.launch: asked\.req\.Strict becomes true`, "it only saves a read"},
	{`^status\.go parseStatus: count < 0 becomes off`, "no field has to be empty"},
	{`^check_linux\.go threadsOf: len\(threads\) == int\(folder\.Nlink\)-2 becomes true`, "only a thread that ends while the kernel lists them shows it"},
	{`^install_linux\.go app\.install: unix\.GRND_NONBLOCK`, "the kernel has its randomness long before a test"},
	{`^install_linux\.go write: 0o600 becomes zero`, "the mode that counts is set before the file has its name"},
}

// isAlike reports whether a mutant is one of those.
func isAlike(m mutant) bool {
	return slices.ContainsFunc(alike, func(a struct{ names, why string }) bool { return regexp.MustCompile(a.names).MatchString(m.name) })
}
