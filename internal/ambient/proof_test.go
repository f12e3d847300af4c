package ambient_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
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

	var everyBit []Securebits
	for b := range Securebits(16) {
		everyBit = append(everyBit, b&1*NoRoot|b>>1&1*NoSetuidFixup|b>>2&1*KeepCapsLocked|b>>3&1*NoCapAmbientRaise)
	}
	t.Run("capabilities", func(t *testing.T) {
		var users []User
		named := []*User{nil}
		for _, id := range ids {
			users = append(users, User{UID: id, GID: id})
			named = append(named, &User{UID: id, GID: id})
		}
		columns := []Set{switching, setpcap, admin}
		w := smallWorld{hosts: []Host{host, noAmbient, noGroups}, starts: starts(host, columns, users, everyBit)}
		for _, u := range named {
			for n := range 9 * 3 * 3 * 2 {
				req := Request{User: u, AllowNewPrivs: n%2 == 0, Bounding: Bounding(n / 2 % 3)}
				n /= 6
				for _, c := range columns { // not asked for, required or optional
					switch n % 3 {
					case 1:
						req.Required.Set |= c
					case 2:
						req.Optional.Set |= c
					}
					n /= 3
				}
				w.requests = append(w.requests, req)
			}
			for n := range 6 {
				req := Request{User: u, AllowNewPrivs: n%2 == 0, Bounding: Bounding(n / 2)}
				req.Required.All = true
				w.requests = append(w.requests, req)
				req.Required.All, req.Optional.All = false, true
				w.requests = append(w.requests, req)
			}
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
		var users []User
		named := []*User{nil}
		for _, uid := range ids {
			for _, gid := range ids {
				for _, g := range lists {
					users = append(users, User{uid, gid, g})
				}
				for _, g := range subsets(7, 65534) {
					named = append(named, &User{uid, gid, g})
				}
			}
		}
		w := smallWorld{hosts: []Host{host, noGroups}, starts: starts(host, []Set{SetOf(CapSetUID), SetOf(CapSetGID)}, users, []Securebits{0})}
		for _, u := range named {
			for i := range len(lists) + 1 {
				var groups *Groups
				if i > 0 {
					groups = &lists[i-1]
				}
				for n := range 16 {
					req := Request{User: u, Groups: groups, KeepGroups: n&1 != 0, KeepNonRoot: n&2 != 0}
					if n&4 != 0 {
						req.Unkept = NewGroups(7)
					}
					if n&8 != 0 {
						req.Doubtful = NewGroups(65534)
					}
					w.requests = append(w.requests, req)
				}
			}
			w.requests = append(w.requests, Request{User: u, UserErr: errNobody})
		}
		w.kinds = []string{"accepted", "stays", errNobody.Error(), string(RootWithoutUser), string(RootCannotSwitch), string(OtherUser), string(OtherGroups), string(SetGroupsDenied)}
		w.prove(t, some)
	})
	t.Run("allowlists", func(t *testing.T) {
		var users []User
		named := []*User{nil}
		for _, id := range ids[:2] {
			users = append(users, User{UID: id, GID: id})
			named = append(named, &User{UID: id, GID: id})
		}
		columns := []Set{switching, setpcap, SetOf(CapKill), admin}
		w := smallWorld{hosts: []Host{host}, starts: starts(host, columns, users, []Securebits{0})}
		for _, u := range named {
			for _, allow := range []*List{nil, {}, {Set: admin}, {Set: admin | switching}, {All: true}} {
				for _, sets := range []SetMask{InPermitted, InEffective, InInheritable, InAmbient, InBounding, DefaultSets, DefaultSets | InBounding} {
					for n := range 36 {
						req := Request{User: u, Allow: allow, Sets: sets, Strict: n&1 != 0, RootParent: n&2 != 0, Bounding: Bounding(n / 4 % 3)}
						switch n / 12 {
						case 1:
							req.Required.Set = admin
						case 2:
							req.Optional.All = true
						}
						w.requests = append(w.requests, req)
					}
				}
			}
		}
		w.kinds = []string{"accepted", ErrUnexpectedCapability.Error()}
		w.prove(t, some)
	})
}

var errNobody = errors.New("nobody")

// starts are all states in which an execve leaves a process that is one of users and has the capabilities of each
// column in any of the sets. What it executed may have file capabilities or set-id bits.
func starts(host Host, columns []Set, users []User, bits []Securebits) (after []State) {
	var before []State
	for _, u := range users {
		for _, b := range bits {
			for _, nnp := range []bool{false, true} {
				before = append(before, State{UID: Same(u.UID), GID: Same(u.GID), Groups: u.Groups, Securebits: b, NoNewPrivs: nnp})
			}
		}
	}
	for _, c := range columns {
		var more []State
		for _, s := range before {
			for n := range Set(16) { // execve does not look at effective
				p, i, b, a := n&1, n>>1&1, n>>2&1, n>>3
				if p&i|a == p&i {
					s := s
					s.Permitted, s.Inheritable, s.Bounding, s.Ambient = s.Permitted|p*c, s.Inheritable|i*c, s.Bounding|b*c, s.Ambient|a*c
					more = append(more, s)
				}
			}
		}
		before = more
	}
	seen := map[State]bool{}
	for _, s := range before {
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
func subsets(ids ...uint32) (all []Groups) {
	for n := range 1 << len(ids) {
		var some []uint32
		for i, id := range ids {
			if n>>i&1 == 1 {
				some = append(some, id)
			}
		}
		all = append(all, NewGroups(some...))
	}
	return all
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
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		asked  int
		counts = map[string]int{}
	)
	const share = 1 << 16 // of the numbers of all questions, for one worker at a time
	next := 0
	for range runtime.GOMAXPROCS(0) {
		mine := rand.New(rand.NewPCG(r.Uint64(), 0))
		wg.Go(func() {
			for {
				mu.Lock()
				from, to := next, min(next+share, total)
				next = to
				mu.Unlock()
				if from == to || t.Failed() {
					return
				}
				n, kinds := 0, map[string]int{}
				for i := from; i < to; i += 1 + mine.IntN(step) {
					req, now := w.requests[i%len(w.requests)], w.starts[i/len(w.requests)%len(w.starts)]
					host := w.hosts[i/len(w.requests)/len(w.starts)]
					req.Doubtful = req.Doubtful.Without(req.Doubtful.Without(now.Groups))
					a, wrong := ask(req, now, host)
					if wrong != "" {
						t.Errorf("%s\nanswer  %+v, %v\nstart   %+v\nrequest %s\nhost    %+v", wrong, a.Plan, a.err, now, spell(req), host)
						return
					}
					n++
					for _, kind := range a.kinds() {
						kinds[kind]++
					}
				}
				mu.Lock()
				asked += n
				for k, n := range kinds {
					counts[k] += n
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, kind := range w.kinds {
		if counts[kind] == 0 {
			t.Errorf("never: %s", kind)
		}
	}
	t.Logf("%d of %d questions (%d starts, %d requests, %d kernels) in %.1f s: %d accepted, %d of them as it is", asked, total,
		len(w.starts), len(w.requests), len(w.hosts), time.Since(begin).Seconds(), counts["accepted"], counts["stays"])
}
