package ambient_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/caplaunch/caplaunch/internal/ambient"
	"github.com/caplaunch/caplaunch/test/unit"
)

var everything = flag.Bool("all", false, "the proof by exhaustion: ask for everything in every state, not a share that the seed chooses")

// TestNoRequestEndsInAnythingButThePromiseOrATrueRefusal is a proof by exhaustion, in three worlds that are small
// enough to ask for everything in every state: what the program gets, who it is, and what was granted.
func TestNoRequestEndsInAnythingButThePromiseOrATrueRefusal(t *testing.T) {
	const some = 150_000
	switching, setpcap, admin := SetOf(CapSetUID, CapSetGID), SetOf(CapSetPCap), SetOf(netAdmin)
	host := Host{Known: switching | setpcap | admin | SetOf(CapKill), Ambient: true, SetGroups: true}
	noAmbient, noGroups := host, host
	noAmbient.Ambient, noGroups.SetGroups = false, false
	ids := []uint32{0, 5, 65534}
	everyBit := every(func(choose choice) Securebits {
		return oneOf(choose, 0, NoRoot) | oneOf(choose, 0, NoSetuidFixup) | oneOf(choose, 0, KeepCapsLocked) | oneOf(choose, 0, NoCapAmbientRaise)
	})
	people := []User{{}, {UID: 5, GID: 5}, {UID: 65534, GID: 65534}}
	t.Run("capabilities", func(t *testing.T) {
		columns, named := []Set{switching, setpcap, admin}, orNone(people)
		w := smallWorld{hosts: []Host{host, noAmbient, noGroups}, starts: starts(host, columns, people, everyBit)}
		w.requests = every(func(choose choice) Request {
			req := Request{User: oneOf(choose, named...), AllowNewPrivs: oneOf(choose, true, false), Bounding: Bounding(choose(3))}
			switch choose(3) {
			case 0:
				for _, c := range columns {
					switch choose(3) { // or it is not asked for
					case 1:
						req.Required.Set |= c
					case 2:
						req.Optional.Set |= c
					}
				}
			case 1:
				req.Required.All = true
			case 2:
				req.Optional.All = true
			}
			return req
		})
		for _, u := range named {
			w.requests = append(w.requests, Request{User: u, Required: List{Set: admin | SetOf(chown)}}) // chown is unknown here
		}
		w.kinds = []string{"accepted", "stays", fileKeeps, fileBreaks, fileRefused, string(StartedSetID), string(StartedWithFileCaps), string(RootWithoutUser), string(RootCannotSwitch), string(OtherUser), string(RootRegains), string(BoundingNeedsSetPCap)}
		for _, why := range reasons {
			if why != NotInheritable { // after an execve, permitted lies within bounding and inheritable
				w.kinds = append(w.kinds, string(why))
			}
		}
		w.prove(t, some)
	})
	t.Run("users", func(t *testing.T) {
		lists := subsets(0, 7, 65534)
		of := func(lists []Groups) []User {
			return every(func(choose choice) User {
				return User{oneOf(choose, ids...), oneOf(choose, ids...), oneOf(choose, lists...)}
			})
		}
		named := orNone(of(subsets(7, 65534)))
		w := smallWorld{hosts: []Host{host, noGroups}, starts: starts(host, []Set{SetOf(CapSetUID), SetOf(CapSetGID)}, of(lists), []Securebits{0})}
		w.requests = every(func(choose choice) Request {
			return Request{
				User: oneOf(choose, named...), Groups: oneOf(choose, orNone(lists)...), KeepGroups: choose(2) == 1, KeepNonRoot: choose(2) == 1,
				Unkept: oneOf(choose, "", NewGroups(7)), Doubtful: oneOf(choose, "", NewGroups(65534)),
			}
		})
		for _, u := range named {
			w.requests = append(w.requests, Request{User: u, UserErr: errNobody})
		}
		w.kinds = []string{"accepted", "stays", errNobody.Error(), string(RootWithoutUser), string(RootCannotSwitch), string(OtherUser), string(OtherGroups), string(SetGroupsDenied)}
		w.prove(t, some)
	})
	t.Run("allowlists", func(t *testing.T) {
		users, columns := people[:2], []Set{switching, setpcap, SetOf(CapKill), admin}
		w := smallWorld{hosts: []Host{host}, starts: starts(host, columns, users, []Securebits{0})}
		w.requests = every(func(choose choice) Request {
			asked := oneOf(choose, Request{}, Request{Required: List{Set: admin}}, Request{Optional: List{All: true}})
			return Request{
				Required: asked.Required, Optional: asked.Optional, User: oneOf(choose, orNone(users)...),
				Allow: oneOf(choose, nil, &List{}, &List{Set: admin}, &List{Set: admin | switching}, &List{All: true}), Strict: choose(2) == 1,
				Sets:       oneOf(choose, InPermitted, InEffective, InInheritable, InAmbient, InBounding, DefaultSets, DefaultSets|InBounding),
				RootParent: choose(2) == 1, Bounding: Bounding(choose(3)),
			}
		})
		w.kinds = []string{"accepted", ErrUnexpectedCapability.Error()}
		w.prove(t, some)
	})
}

var errNobody = errors.New("nobody")

// A choice is one of so many numbers from 0 on.
type choice func(of int) int

func oneOf[T any](choose choice, of ...T) T { return of[choose(len(of))] }

// every is what comes of all ways to choose.
func every[T any](do func(choose choice) T) (all []T) {
	type digit struct{ is, of int }
	for digits := []digit(nil); ; {
		place := 0
		all = append(all, do(func(of int) int {
			if place == len(digits) {
				digits = append(digits, digit{of: of})
			}
			place++
			return digits[place-1].is
		}))
		last := len(digits) - 1
		for last >= 0 && digits[last].is == digits[last].of-1 {
			last--
		}
		if last < 0 {
			return all
		}
		digits = digits[:last+1]
		digits[last].is++
	}
}

// orNone is a pointer to each, and nil.
func orNone[T any](all []T) []*T {
	out := []*T{nil}
	for i := range all {
		out = append(out, &all[i])
	}
	return out
}

// starts are all states in which an execve leaves a process that is one of users and has the capabilities of each
// column in any of the sets. What it executed may have file capabilities or set-id bits.
func starts(host Host, columns []Set, users []User, bits []Securebits) (after []State) {
	seen := map[State]bool{}
	for _, s := range every(func(choose choice) State {
		u := oneOf(choose, users...)
		s := State{UID: Same(u.UID), GID: Same(u.GID), Groups: u.Groups, Securebits: oneOf(choose, bits...), NoNewPrivs: choose(2) == 1}
		for _, c := range columns { // execve does not look at effective
			p, i, b := Set(choose(2)), Set(choose(2)), Set(choose(2))
			a := Set(choose(1 + int(p&i))) // lies within both
			s.Permitted, s.Inheritable, s.Bounding, s.Ambient = s.Permitted|p*c, s.Inheritable|i*c, s.Bounding|b*c, s.Ambient|a*c
		}
		return s
	}) {
		for _, f := range []File{{}, {Caps: &FileCaps{Permitted: columns[0], Effective: true}}, {SetUID: &none}, {SetUID: &other}, {SetGID: &other}} {
			if n, err := s.Execve(f, host); err == nil && !seen[n] {
				seen[n] = true
				after = append(after, n)
			}
		}
	}
	return after
}

// subsets are all groups with some of ids.
func subsets(ids ...uint32) []Groups {
	return every(func(choose choice) Groups {
		return NewGroups(slices.DeleteFunc(slices.Clone(ids), func(uint32) bool { return choose(2) == 0 })...)
	})
}

// A smallWorld is what there is, and what may be asked for.
type smallWorld struct {
	hosts    []Host
	starts   []State
	requests []Request
	kinds    []string // of answers that there must be
}

// prove asks for everything in every state, or in the mean for as much as some.
func (w smallWorld) prove(t *testing.T, some int) {
	begin, step := time.Now(), 1
	total := len(w.hosts) * len(w.starts) * len(w.requests)
	r := unit.Rand(t)
	if !*everything {
		step = max(1, 2*total/some)
	}
	const share = 1 << 16 // of the numbers of all questions, for one worker at a time
	var next atomic.Int64
	var wg sync.WaitGroup
	all := make([]map[string]int, runtime.GOMAXPROCS(0)) // what each worker has seen, how often
	for worker := range all {
		mine, seen := rand.New(rand.NewPCG(r.Uint64(), 0)), map[string]int{}
		all[worker] = seen
		wg.Go(func() {
			for to := int(next.Add(share)); to-share < total && !t.Failed(); to = int(next.Add(share)) {
				for i := to - share; i < min(to, total); i += 1 + mine.IntN(step) {
					req, now := w.requests[i%len(w.requests)], w.starts[i/len(w.requests)%len(w.starts)]
					host := w.hosts[i/len(w.requests)/len(w.starts)]
					req.Doubtful = req.Doubtful.Without(req.Doubtful.Without(now.Groups))
					a, wrong := ask(req, now, host)
					if wrong != "" {
						t.Errorf("%s\nanswer  %+v, %v\nstart   %+v\nrequest %s\nhost    %+v", wrong, a.Plan, a.err, now, spell(req), host)
						return
					}
					for _, kind := range append(a.kinds(), "asked") {
						seen[kind]++
					}
				}
			}
		})
	}
	wg.Wait()
	counts := map[string]int{}
	for _, seen := range all {
		for kind, n := range seen {
			counts[kind] += n
		}
	}
	for _, kind := range w.kinds {
		if counts[kind] == 0 {
			t.Errorf("never: %s", kind)
		}
	}
	t.Logf("%d of %d questions (%d starts, %d requests, %d kernels) in %.1f s: %d accepted, %d of them as it is", counts["asked"], total,
		len(w.starts), len(w.requests), len(w.hosts), time.Since(begin).Seconds(), counts["accepted"], counts["stays"])
}
