package security

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/integration/engine"
)

var starts = flag.Int("starts", 500, "how many random starts are tried")

// The capabilities that the random starts are about: setgid, setuid, setpcap, net_admin and net_raw.
const caps = ambient.Set(0x31c0)

// A start is a starting state, by the words that make it, and a request.
type start struct {
	words      []string // capstart, and userns in front of it
	nested     bool     // in a namespace that maps 0 to 65535 to 100000 and on
	denied     bool     // which denies setgroups
	securebits ambient.Securebits
	req        ambient.Request
	flags      []string // the request as a command line
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// draw makes a start. Most of them have what they need.
func draw(t testing.TB, r *rand.Rand) (s start) {
	one := func(in int) bool { return r.IntN(in) == 0 }
	set := func() (some ambient.Set) {
		for c := range caps.All() {
			if !one(4) {
				some |= ambient.SetOf(c)
			}
		}
		return some
	}
	hex := func(s ambient.Set) string { return strconv.FormatUint(uint64(s), 16) }
	option := func(words ...string) { s.words = append(s.words, words...) }
	if s.nested = one(3); s.nested {
		option(engine.Starter(t, "userns"), "-m", contained, "-n", contained)
		if one(3) { // somebody from outside, whose ids are not mapped
			option("-k", "-u", pick(r, "7,7,7", "7,7,7", "165534,165534,7", "165534,165534,165534"), "-g", pick(r, "7,7,7", "165534,165534,165534"))
		} else {
			option("-u", "100000,100000,100000", "-g", "100000,100000,100000")
		}
		option("-G", pick(r, "none", "100007", "7", "100007,7", "100000"))
		if s.denied = one(4); s.denied {
			option("-d")
		}
		option("--")
	}
	option(engine.Capstart(t))
	if !s.nested {
		root := r.IntN(3) > 0
		id := func() string {
			if root {
				return "0"
			}
			return pick(r, "40005", "65532", "65534")
		}
		ids := func() string {
			if all := id(); !one(12) {
				return all + "," + all + "," + all
			}
			return id() + ",0," + id()
		}
		option("-u", ids(), "-g", ids(), "-G", pick(r, "none", "0", "7", "0,7", "7,65534", "65532", "0,7,65532", "40005"))
	}
	bounding, permitted, inheritable := set(), set(), ambient.Set(0)
	if !one(5) {
		permitted &= bounding
	}
	if !one(3) {
		option("-b", hex(bounding))
	}
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
		option("-s", strconv.FormatUint(uint64(s.securebits), 16))
	}
	if one(4) {
		option("-n")
	}
	option("--")
	s.ask(r)
	return s
}

// ask makes the request, and the flags for it.
func (s *start) ask(r *rand.Rand) {
	maybe := func(in int, flag string) bool {
		if r.IntN(in) > 0 {
			return false
		}
		s.flags = append(s.flags, flag)
		return true
	}
	for c := range caps.All() {
		if maybe(5, "--caps="+c.String()) {
			s.req.Required.Set |= ambient.SetOf(c)
		} else if maybe(5, "--optional-caps="+c.String()) {
			s.req.Optional.Set |= ambient.SetOf(c)
		}
	}
	s.req.Sets, s.req.Strict = ambient.DefaultSets, maybe(5, "--strict")
	s.req.Optional.All = !s.req.Strict && maybe(6, "--optional-caps=all")
	if r.IntN(6) > 0 {
		u := pick(r, [][2]uint32{{0, 0}, {40005, 40005}, {65532, 65532}, {65534, 65534}, {65532, 40005}, {65534, 0}}...)
		s.req.User = &ambient.User{UID: u[0], GID: u[1]}
		maybe(1, fmt.Sprintf("--user=%d:%d", u[0], u[1]))
	}
	if list := pick(r, [][]uint32{{7}, {40005, 65534}, {100007}, {0}}...); maybe(4, "--groups="+strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")) {
		groups := ambient.NewGroups(list...)
		s.req.Groups = &groups
	}
	s.req.KeepGroups, s.req.KeepNonRoot, s.req.AllowNewPrivs = maybe(3, "--keep-groups"), maybe(5, "--non-root=keep"), maybe(6, "--allow-new-privs")
	if maybe(6, "--bounding=drop") {
		s.req.Bounding = ambient.CutBounding
	} else if maybe(6, "--bounding=try") {
		s.req.Bounding = ambient.TryBounding
	}
}

// inside is how an id reads in the namespace, and outside the one that it stands for.
func (s start) inside(id uint32) uint32 {
	switch {
	case !s.nested:
		return id
	case id < 100000 || id >= 165536:
		return 65534
	}
	return id - 100000
}

func (s start) outside(id uint32) (outside string, mapped bool) {
	if s.nested {
		mapped, id = id < 65536, id+100000
	}
	return strconv.Itoa(int(id)), mapped || !s.nested
}

// state is that of a process whose status is seen from outside, as it sees itself.
func (s start) state(status map[string]string) ambient.State {
	numbers := func(key string) (all []uint32) {
		for word := range strings.FieldsSeq(status[key]) {
			n, _ := strconv.ParseUint(word, 10, 32)
			all = append(all, s.inside(uint32(n)))
		}
		return all
	}
	ids := func(key string) ambient.IDs {
		n := numbers(key)
		return ambient.IDs{Real: n[0], Effective: n[1], Saved: n[2]}
	}
	set := func(key string) ambient.Set { n, _ := strconv.ParseUint(status[key], 16, 64); return ambient.Set(n) }
	return ambient.State{
		UID: ids("Uid"), GID: ids("Gid"), Groups: ambient.NewGroups(numbers("Groups")...), NoNewPrivs: status["NoNewPrivs"] == "1", Securebits: s.securebits &^ ambient.KeepCaps,
		Permitted: set("CapPrm"), Inheritable: set("CapInh"), Effective: set("CapEff"), Bounding: set("CapBnd"), Ambient: set("CapAmb"),
	}
}

// predict says what becomes of a launch: the exit status of a refusal, or 0 and what the program finds. It is what the
// plan says, which the proof by exhaustion judges, and of ids that are not mapped what the kernel does.
func (s start) predict(status map[string]string) (code int, want map[string]string) {
	now := s.state(status)
	if s.nested && now.Groups.Has(65534) {
		s.req.Doubtful = ambient.NewGroups(65534)
	}
	plan, err := ambient.NewPlan(s.req, now, ambient.Host{Known: ambient.NamedCaps, Ambient: true, SetGroups: !s.denied})
	var missing *ambient.NotGrantedError
	switch {
	case errors.Is(err, ambient.ErrUnexpectedCapability):
		return engine.Unexpected, nil
	case errors.As(err, &missing):
		return engine.NotGranted, nil
	case err != nil:
		return engine.Failure, nil
	}
	end := plan.AfterExec
	want = map[string]string{"Groups": status["Groups"], "NoNewPrivs": "0", "CapBnd": engine.Mask(uint64(end.Bounding))}
	for _, key := range []string{"CapPrm", "CapInh", "CapEff", "CapAmb"} {
		want[key] = engine.Mask(uint64(end.Permitted))
	}
	if end.NoNewPrivs {
		want["NoNewPrivs"] = "1"
	}
	// The kernel sets no id that is not mapped, and without the capability none but those that there are.
	for key, id := range map[string]struct {
		to  uint32
		may ambient.Cap
	}{"Uid": {end.UID.Real, ambient.CapSetUID}, "Gid": {end.GID.Real, ambient.CapSetGID}} {
		k, mapped := s.outside(id.to)
		if !mapped || !now.Permitted.Has(id.may) && !slices.Contains(strings.Fields(status[key])[:3], k) {
			return engine.Failure, nil
		}
		want[key] = strings.Join(slices.Repeat([]string{k}, 4), " ")
	}
	if plan.Switched {
		var groups []string
		for _, g := range end.Groups.IDs() {
			k, mapped := s.outside(g)
			if !mapped {
				return engine.Failure, nil
			}
			groups = append(groups, k)
		}
		want["Groups"] = strings.Join(groups, " ")
	}
	return 0, want
}

// From random states of sets, securebits, ids, groups and maps each launch ends in exactly what was asked for, or it is
// refused with the status that the documentation has for it.
func TestRandomStartsAreExactOrRefused(t *testing.T) {
	begin(t)
	random := engine.Rand(t)
	var mu sync.Mutex
	ends, skipped := map[int]int{}, 0 // by exit status, 0 for what ran
	var wg sync.WaitGroup
	drawn := make(chan start)
	for range 3 {
		wg.Go(func() {
			for s := range drawn {
				before := outside(t, append(slices.Clone(s.words), engine.Probe(t), "pause")...)
				if before.ran == nil { // there is no such state
					mu.Lock()
					skipped++
					mu.Unlock()
					continue
				}
				argv := slices.Concat(s.words, []string{engine.Caplaunch(t)}, s.flags, []string{"--", engine.Probe(t), "pause"})
				after, got := outside(t, argv...), 0
				if after.ran == nil {
					got = after.result.Code
				}
				code, want := s.predict(before.ran)
				for key, value := range want {
					if after.ran[key] != value {
						t.Errorf("%q\nfrom %v\n%s is %q, predicted %q", argv, before.ran, key, after.ran[key], value)
					}
				}
				if got != code {
					t.Errorf("%q\nfrom %v\nexit status %d, predicted %d\n%s", argv, before.ran, got, code, after.result.Stderr)
				}
				mu.Lock()
				ends[got]++
				mu.Unlock()
			}
		})
	}
	for range *starts {
		drawn <- draw(t, random)
	}
	close(drawn)
	wg.Wait()
	t.Logf("by exit status %v, %d starting states cannot be", ends, skipped)
	if ends[0] < *starts/10 || len(ends) < 4 {
		t.Error("too few of them run, or are refused: the draw is not random enough")
	}
}
