package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A sequence is a starting state, system calls, and a program at the end.
type sequence struct {
	Start ambient.State
	Steps []ambient.Step
	Exec  target
}

func (q sequence) String() string {
	return fmt.Sprintf("start %+v\nsteps %q\nexec %s%s", q.Start, q.Steps, q.Exec.Path, q.Exec.credentials())
}

// credentials is what execve takes from the program, in words.
func (t target) credentials() string {
	var b strings.Builder
	if c := t.File.Caps; c != nil {
		fmt.Fprintf(&b, ", file capabilities %#v", *c)
	}
	if id := t.File.SetUID; id != nil {
		fmt.Fprintf(&b, ", set-uid %d", *id)
	}
	if id := t.File.SetGID; id != nil {
		fmt.Fprintf(&b, ", set-gid %d", *id)
	}
	return b.String()
}

// favourites are the capabilities that the rules speak of, and two others.
var favourites = ambient.SetOf(ambient.CapSetUID, ambient.CapSetGID, ambient.CapSetPCap, 12, 40)

// processIDs are ids of processes, sorted by how often they are wanted. Some are mapped nowhere but in the initial user
// namespace; 65536 and above would be cut off by 16-bit calls.
var processIDs = []uint32{0, 0, 0, 1000, 1000, 2000, 65532, 65536, 100000, 1<<31 - 1, 1<<32 - 2}

// An idPool knows which ids are mapped.
type idPool struct{ UIDs, GIDs idMap }

func mapped(m idMap, ids []uint32) []uint32 {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id uint32) bool { return !m.has(id) })
	if len(ids) == 0 && len(m) > 0 {
		return []uint32{m[0].here}
	}
	return ids
}

// A generator makes random sequences that are possible in a place.
type generator struct {
	host    ambient.Host
	ids     idPool
	limit   ambient.State // permitted and bounding are the most there is; the ids and groups where they cannot be set
	bits    ambient.Securebits
	targets []target
	plain   []target // those without any privilege
	setID   []target // those with set-id bits that count, and nothing else
	few     bool     // the start takes few calls: on all threads of a process, each is dear
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// one is true once in n times.
func one(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// aSet is a random subset, often an extreme one.
func aSet(r *rand.Rand, within ambient.Set) ambient.Set {
	switch r.IntN(8) {
	case 0:
		return 0
	case 1, 2:
		return within
	case 3, 4:
		return within & favourites
	case 5:
		return within &^ ambient.SetOf(ambient.Cap(r.IntN(41)))
	}
	return within & ambient.Set(r.Uint64())
}

// someIDs are three ids, mostly equal ones.
func someIDs(r *rand.Rand, ids []uint32) ambient.IDs {
	a := ambient.IDs{Real: pick(r, ids), Effective: pick(r, ids), Saved: pick(r, ids)}
	switch r.IntN(5) {
	case 0:
		return a
	case 1:
		return ambient.IDs{Real: a.Real, Effective: a.Effective, Saved: a.Effective}
	}
	return ambient.Same(a.Real)
}

func someGroups(r *rand.Rand, ids []uint32) ambient.Groups {
	var g []uint32
	for range r.IntN(5) {
		g = append(g, pick(r, ids))
	}
	return ambient.NewGroups(g...)
}

// start is a random state that a process can be in.
func (g generator) start(r *rand.Rand) ambient.State {
	s := ambient.State{UID: someIDs(r, mapped(g.ids.UIDs, processIDs)), GID: someIDs(r, mapped(g.ids.GIDs, processIDs)), NoNewPrivs: one(r, 4)}
	if s.Groups = g.limit.Groups; g.host.SetGroups {
		s.Groups = someGroups(r, mapped(g.ids.GIDs, processIDs))
	}
	s.Permitted = aSet(r, g.limit.Permitted)
	s.Inheritable = aSet(r, g.limit.Bounding)
	if one(r, 3) {
		s.Inheritable = aSet(r, s.Permitted&g.limit.Bounding)
	}
	s.Bounding = g.limit.Bounding
	if one(r, 2) {
		s.Bounding = aSet(r, g.limit.Bounding)
	}
	s.Effective = s.Permitted
	if one(r, 3) {
		s.Effective = aSet(r, s.Permitted)
	}
	s.Ambient = aSet(r, s.Permitted&s.Inheritable)
	if g.few {
		few := ambient.SetOf(ambient.Cap(r.IntN(41)), pick(r, slices.Collect(favourites.All())))
		s.Bounding = g.limit.Bounding &^ few
		s.Ambient &= few
	}
	if one(r, 3) {
		s.Securebits = ambient.Securebits(r.Uint32()) & g.bits
	} else if one(r, 3) {
		s.Securebits = 1 << r.IntN(8)
	}
	return s
}

// step is a random call, mostly one that now is near to be allowed.
func (g generator) step(r *rand.Rand, now ambient.State) ambient.Step {
	stray := func(s ambient.Set) ambient.Set {
		if one(r, 12) {
			s |= ambient.SetOf(ambient.Cap(r.IntN(64)))
		}
		return s
	}
	capIn := func(s ambient.Set) ambient.Cap {
		if s != 0 && !one(r, 4) {
			return pick(r, slices.Collect(s.All()))
		}
		return pick(r, []ambient.Cap{ambient.Cap(r.IntN(41)), ambient.Cap(r.IntN(41)), 41, 63, 64, 255})
	}
	ids := func(now ambient.IDs) ambient.IDs {
		if one(r, 2) {
			return someIDs(r, []uint32{now.Real, now.Effective, now.Saved})
		}
		return someIDs(r, processIDs)
	}
	switch r.IntN(16) {
	case 0, 1, 2:
		p := now.Permitted
		if one(r, 3) {
			p = aSet(r, p)
		}
		i := aSet(r, now.Inheritable|now.Permitted)
		if one(r, 6) {
			i = aSet(r, g.limit.Bounding)
		}
		e := p
		if one(r, 3) {
			e = aSet(r, p)
		}
		return ambient.Capset{Permitted: stray(p), Inheritable: stray(i), Effective: stray(e)}
	case 3, 4:
		return ambient.RaiseAmbient{Cap: capIn(now.Permitted & now.Inheritable)}
	case 5, 6:
		return ambient.DropBounding{Cap: capIn(now.Bounding)}
	case 7, 8:
		return ambient.SetKeepCaps{}
	case 9, 10:
		return ambient.SetGroups{Groups: someGroups(r, processIDs)}
	case 11, 12:
		return ambient.SetResGID{To: ids(now.GID)}
	case 13, 14:
		return ambient.SetResUID{To: ids(now.UID)}
	}
	return ambient.SetNoNewPrivs{}
}

// sequence is a random one. The Sim only guides it: whether the Sim is right is for the kernel to say.
func (g generator) sequence(r *rand.Rand) sequence {
	q := sequence{Start: g.start(r), Exec: pick(r, g.targets)}
	switch {
	case one(r, 8):
		q.Exec = pick(r, g.plain)
	case one(r, 6) && g.setID != nil:
		q.Exec = pick(r, g.setID)
	}
	now := q.Start
	for range r.IntN(13) {
		s := g.step(r, now)
		now, _ = g.next(s, now)
		q.Steps = append(q.Steps, s)
	}
	return q
}

// notMapped is the one rule that the model does not know: user_namespaces(7).
const notMapped ambient.Rule = "an id is not mapped in the user namespace"

// next is what the model says of a step, and the kernel where an id is not mapped.
func (g generator) next(step ambient.Step, s ambient.State) (ambient.State, error) {
	switch step := step.(type) {
	case ambient.SetResUID:
		if !g.ids.UIDs.has(step.To.Real, step.To.Effective, step.To.Saved) {
			return s, notMapped
		}
	case ambient.SetResGID:
		if !g.ids.GIDs.has(step.To.Real, step.To.Effective, step.To.Saved) {
			return s, notMapped
		}
	case ambient.SetGroups:
		if next, err := step.Next(s, g.host); err != nil || g.ids.GIDs.has(step.Groups.IDs()...) {
			return next, err
		}
		return s, notMapped
	}
	return step.Next(s, g.host)
}
