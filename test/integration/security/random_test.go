package security

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caplaunch/caplaunch/test/integration/engine"
	"github.com/caplaunch/caplaunch/test/unit"
)

var starts = flag.Int("starts", 500, "how many random starts are tried")

// The capabilities that the random starts are about.
const capSetGID, capSetUID, setPCap, netAdmin, netRaw = 6, 7, 8, 12, 13

var caps = []int{capSetGID, capSetUID, setPCap, netAdmin, netRaw}

var capNames = map[int]string{capSetGID: "setgid", capSetUID: "setuid", setPCap: "setpcap", netAdmin: "net_admin", netRaw: "net_raw"}

// Securebits of capabilities(7).
const noSetuidFixup, keepCapsLocked, noRaise = 4, 0x20, 0x40

// A start is a starting state, by the words that make it, and a request.
type start struct {
	words      []string // capstart, and userns in front of it
	nested     bool     // in a namespace that maps 0 to 65535 to 100000 and on
	denied     bool     // which denies setgroups
	securebits uint64

	required, optional uint64
	everything         bool // --optional-caps=all
	user               *[2]int
	groups             []int // nil: none are named
	keepGroups         bool
	keepNonRoot        bool
	bounding           string
	newPrivs, strict   bool
}

// draw makes a start. Most of them have what they need.
func draw(t testing.TB, r *rand.Rand) start {
	one := func(in int) bool { return r.IntN(in) == 0 }
	set := func() (mask uint64) {
		for _, c := range caps { // in their order, so that a seed draws the same again
			if !one(4) {
				mask |= 1 << c
			}
		}
		return mask
	}
	hex := func(mask uint64) string { return strconv.FormatUint(mask, 16) }
	s := start{bounding: "keep"}
	root := r.IntN(3) > 0
	id := func() string {
		if root {
			return "0"
		}
		return []string{"40005", "65532", "65534"}[r.IntN(3)]
	}
	ids := func() string {
		if all := id(); !one(12) {
			return all + "," + all + "," + all
		}
		return id() + ",0," + id()
	}
	groups := []string{"none", "0", "7", "0,7", "7,65534", "65532", "0,7,65532", "40005"}[r.IntN(8)]
	if s.nested = one(3); s.nested {
		s.words = []string{engine.Starter(t, "userns"), "-m", contained, "-n", contained}
		if one(3) { // somebody from outside, whose ids are not mapped
			s.words = append(s.words, "-k", "-u", "7,7,7", "-g", []string{"7,7,7", "165534,165534,165534"}[r.IntN(2)])
			if one(3) {
				s.words[len(s.words)-3] = "165534,165534," + []string{"7", "165534"}[r.IntN(2)]
			}
			root = false
		} else {
			s.words = append(s.words, "-u", "100000,100000,100000", "-g", "100000,100000,100000")
		}
		s.words = append(s.words, "-G", []string{"none", "100007", "7", "100007,7", "100000"}[r.IntN(5)])
		if s.denied = one(4); s.denied {
			s.words = append(s.words, "-d")
		}
		s.words = append(s.words, "--")
	}
	option := func(words ...string) { s.words = append(s.words, words...) }
	option(engine.Capstart(t))
	if !s.nested {
		option("-u", ids(), "-g", ids(), "-G", groups)
	}
	bounding, permitted := set(), set()
	if !one(5) {
		permitted &= bounding
	}
	if !one(3) {
		option("-b", hex(bounding))
	}
	inheritable := uint64(0)
	if one(2) {
		inheritable = set() & bounding
	}
	option("-i", hex(inheritable), "-p", hex(permitted))
	if !one(3) {
		option("-a", hex(permitted&inheritable&set()))
	}
	if one(3) {
		s.securebits = 1 << r.IntN(8)
		if one(3) {
			s.securebits |= 1 << r.IntN(8)
		}
		option("-s", hex(s.securebits))
	}
	if one(4) {
		option("-n")
	}
	option("--")

	for _, c := range caps {
		switch r.IntN(5) {
		case 0:
			s.required |= 1 << c
		case 1:
			s.optional |= 1 << c
		}
	}
	s.everything = one(6)
	if !one(6) {
		s.user = &[][2]int{{0, 0}, {40005, 40005}, {65532, 65532}, {65534, 65534}, {65532, 40005}, {65534, 0}}[r.IntN(6)]
	}
	if one(4) {
		s.groups = [][]int{{7}, {40005, 65534}, {100007}, {0}}[r.IntN(4)]
	}
	s.keepGroups, s.keepNonRoot, s.newPrivs, s.strict = one(3), one(5), one(6), one(5)
	if one(3) {
		s.bounding = []string{"drop", "try"}[r.IntN(2)]
	}
	if s.strict {
		s.everything = false
	}
	return s
}

// flags is the request as a command line.
func (s start) flags() (words []string) {
	list := func(mask uint64) (names []string) {
		for _, c := range caps {
			if has(mask, c) {
				names = append(names, capNames[c])
			}
		}
		return names
	}
	for flag, names := range map[string][]string{"--caps=": list(s.required), "--optional-caps=": list(s.optional)} {
		if len(names) > 0 {
			words = append(words, flag+strings.Join(names, ","))
		}
	}
	if s.everything {
		words = append(words, "--optional-caps=all")
	}
	if s.user != nil {
		words = append(words, fmt.Sprintf("--user=%d:%d", s.user[0], s.user[1]))
	}
	for _, g := range s.groups {
		words = append(words, "--groups="+strconv.Itoa(g))
	}
	for flag, on := range map[string]bool{"--keep-groups": s.keepGroups, "--non-root=keep": s.keepNonRoot, "--allow-new-privs": s.newPrivs, "--strict": s.strict} {
		if on {
			words = append(words, flag)
		}
	}
	return append(words, "--bounding="+s.bounding)
}

// A fact is what the kernel says of a process, ids and groups as they are outside of a namespace.
type fact struct {
	uid, gid      [3]int
	groups        []int
	p, i, e, b, a uint64
	noNewPrivs    bool
}

func factOf(status map[string]string) (f fact) {
	ids := func(key string) (three [3]int) {
		for i, word := range strings.Fields(status[key])[:3] {
			three[i], _ = strconv.Atoi(word)
		}
		return three
	}
	mask := func(key string) uint64 { n, _ := strconv.ParseUint(status[key], 16, 64); return n }
	f = fact{
		uid: ids("Uid"), gid: ids("Gid"), groups: []int{}, p: mask("CapPrm"), i: mask("CapInh"), e: mask("CapEff"), b: mask("CapBnd"), a: mask("CapAmb"),
		noNewPrivs: status["NoNewPrivs"] == "1",
	}
	for _, word := range strings.Fields(status["Groups"]) {
		n, _ := strconv.Atoi(word)
		f.groups = append(f.groups, n)
	}
	slices.Sort(f.groups)
	return f
}

// inside is how an id reads in the namespace, and outside the id that one stands for, -1 for none.
func (s start) inside(id int) int {
	if s.nested && (id < 100000 || id >= 165536) {
		return 65534
	} else if s.nested {
		return id - 100000
	}
	return id
}

func (s start) outside(id int) int {
	if s.nested && id >= 65536 {
		return -1
	} else if s.nested {
		return id + 100000
	}
	return id
}

func has(mask uint64, c int) bool { return mask>>c&1 == 1 }

func same(ids [3]int) bool { return ids[0] == ids[1] && ids[1] == ids[2] }

// predict says by the documentation what becomes of a launch: the exit status of a refusal, or 0 and what the program
// finds. It shares nothing with caplaunch.
func (s start) predict(now fact, kill uint64) (code int, want fact) {
	in := func(ids [3]int) (all [3]int) {
		for i, id := range ids {
			all[i] = s.inside(id)
		}
		return all
	}
	uid, gid := in(now.uid), in(now.gid)
	root := uid == [3]int{}
	// A privileged start.
	if !same(uid) || !same(gid) || !root && now.p&^now.a != 0 {
		return 125, want
	}
	// The allowlist.
	if s.strict {
		allowed := s.required | s.optional
		if root {
			allowed |= 1<<capSetUID | 1<<capSetGID | kill
		}
		if s.bounding != "keep" {
			allowed |= 1 << setPCap
		}
		if (now.p|now.e|now.i|now.a)&^allowed != 0 {
			return 78, want
		}
	}
	switched, refused, groups := s.identity(now, uid, gid, root)
	user, group := uid[0], gid[0]
	if switched {
		user, group = s.become(user, group)
	}
	// Capabilities. A change of the uid from root to another clears them, unless a bit keeps or locks that.
	leaves := switched && slices.Contains(uid[:], 0) && user != 0 && s.securebits&noSetuidFixup == 0
	can := uint64(0)
	for c := range 64 {
		ok := has(now.p, c) && (has(now.i, c) || has(now.b, c))
		if leaves && s.securebits&keepCapsLocked != 0 || s.securebits&noRaise != 0 && (leaves || !has(now.a, c)) {
			ok = false
		}
		if ok {
			can |= 1 << c
		}
	}
	if s.required&^can != 0 {
		return 77, want
	}
	given := s.required | s.optional&can
	if s.everything {
		given = can
	}
	if refused {
		return 125, want
	}
	// The bounding set.
	bounding := now.b
	if s.bounding != "keep" && now.b != given {
		switch {
		case has(now.p, setPCap):
			bounding = given
		case s.bounding == "drop":
			return 125, want
		}
	}
	if user == 0 && s.newPrivs && (s.bounding == "keep" || bounding != given) {
		return 125, want // the exec of a root program would fill its sets
	}
	// The kernel sets no id that is not mapped, and without the capability none but those that there are.
	kuid, kgid := s.outside(user), s.outside(group)
	if kuid < 0 || kgid < 0 || !has(now.p, capSetUID) && !slices.Contains(now.uid[:], kuid) || !has(now.p, capSetGID) && !slices.Contains(now.gid[:], kgid) {
		return 125, want
	}
	want = fact{uid: [3]int{kuid, kuid, kuid}, gid: [3]int{kgid, kgid, kgid}, groups: now.groups, p: given, i: given, e: given, b: bounding, a: given, noNewPrivs: now.noNewPrivs || !s.newPrivs}
	if switched {
		want.groups = []int{}
		for _, g := range groups {
			k := s.outside(g)
			if k < 0 {
				return 125, fact{}
			}
			want.groups = append(want.groups, k)
		}
	}
	return 0, want
}

// become is the user and group that are named, or those that there are.
func (s start) become(uid, gid int) (user, group int) {
	if s.user != nil {
		return s.user[0], s.user[1]
	}
	return uid, gid
}

// identity says whether a launch changes ids and groups, to which groups, and whether it cannot.
func (s start) identity(now fact, uid, gid [3]int, root bool) (switched, refused bool, groups []int) {
	if s.user == nil && root {
		return false, true, nil
	}
	if s.user == nil && s.groups == nil {
		return false, false, nil
	}
	add := func(list []int, more ...int) []int {
		list = append(slices.Clone(list), more...)
		slices.Sort(list)
		return slices.Compact(list)
	}
	var received []int // as they read; one that may stand for another gid is doubtful
	doubtful := false
	for _, k := range now.groups {
		g := s.inside(k)
		doubtful = doubtful || s.nested && g == 65534
		received = add(received, g)
	}
	user, group := s.become(uid[0], gid[0])
	groups = add(s.groups, group)
	if s.keepGroups {
		for _, g := range received {
			if g != 0 && !(s.nested && g == 65534) {
				groups = add(groups, g)
			}
		}
	}
	sameIDs := user == uid[0] && group == gid[0]
	if sameIDs && !doubtful && slices.Equal(groups, add(received, gid[0])) {
		return false, false, nil
	}
	able := has(now.p, capSetGID) && (user == uid[0] || has(now.p, capSetUID)) && !s.denied
	held := !slices.ContainsFunc(s.groups, func(g int) bool { return !slices.Contains(received, g) })
	switch {
	case able:
		return true, false, groups
	case sameIDs && s.keepGroups && held, s.keepNonRoot && !root:
		return false, false, nil
	}
	return true, true, groups
}

// From random states of sets, securebits, ids, groups and maps each launch ends in exactly what was asked for, or it is
// refused with the status that the documentation has for it.
func TestRandomStartsAreExactOrRefused(t *testing.T) {
	engine.Begin(t)
	random := unit.Rand(t)
	var drawn []start
	for range *starts {
		drawn = append(drawn, draw(t, random))
	}
	var lock sync.Mutex
	ran, refusals, skipped := 0, map[int]int{}, 0
	unit.InParallel(t, drawn, 2000, func(s start) {
		before := outside(t, append(slices.Clone(s.words), engine.Probe(t), "pause")...)
		argv := slices.Concat(s.words, []string{engine.Caplaunch(t)}, s.flags(), []string{"--", engine.Probe(t), "pause"})
		var after end
		if before.ran != nil {
			after = outside(t, argv...)
		}
		lock.Lock()
		defer lock.Unlock()
		if before.ran == nil { // there is no such state
			skipped++
			return
		}
		now := factOf(before.ran)
		code, want := s.predict(now, 1<<5) // no start has KILL
		if after.ran == nil {
			if refusals[after.result.Code]++; code == 0 || after.result.Code != code {
				t.Errorf("%q\nfrom %+v\nrefused with %d, predicted %d %+v\n%s", argv, now, after.result.Code, code, want, after.result.Stderr)
			}
		} else if ran++; code != 0 || fmt.Sprint(factOf(after.ran)) != fmt.Sprint(want) {
			t.Errorf("%q\nfrom %+v\nthe program found %+v\npredicted %d %+v", argv, now, factOf(after.ran), code, want)
		}
	})
	t.Logf("%d ran, refused %v, %d starting states cannot be", ran, refusals, skipped)
	if ran < *starts/10 || len(refusals) < 3 {
		t.Error("too few of them run, or are refused: the draw is not random enough")
	}
}
