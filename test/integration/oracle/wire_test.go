//go:build linux

package oracle

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// What executor.c reads and writes, and the Go child writes: little-endian, a request
// is its size and a sequence, an answer is records up to an ended one.

type kind uint32

const (
	started kind = iota + 1 // the starting state is taken up
	stepped                 // a call was made, Errno is its outcome
	refused                 // execve failed
	became                  // the program says what it is
	unready                 // the starting state could not be taken up
	ended                   // the child is gone, Errno is its wait status
)

// A record is one thing that the kernel's side reports.
type record struct {
	Kind  kind
	Errno uint32
	State ambient.State
	Where uint32 // of unready: which call of executor.c's start
}

// A wireState stands for a state, with the groups behind it.
type wireState struct {
	Permitted, Inheritable, Effective, Bounding, Ambient ambient.Set
	Securebits                                           ambient.Securebits
	NoNewPrivs                                           uint32
	UID, GID                                             ambient.IDs
	Groups, Where                                        uint32
}

// put appends fixed-size values.
func put(b []byte, values ...any) []byte {
	for _, v := range values {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b
}

func putState(b []byte, s ambient.State) []byte {
	w := wireState{s.Permitted, s.Inheritable, s.Effective, s.Bounding, s.Ambient, s.Securebits, 0, s.UID, s.GID, uint32(s.Groups.Len()), 0}
	if s.NoNewPrivs {
		w.NoNewPrivs = 1
	}
	return put(b, w, s.Groups.IDs())
}

func putRecord(b []byte, r record) []byte { return putState(put(b, r.Kind, r.Errno), r.State) }

// Operations, in the order of executor.c.
const (
	opCapset = iota + 1
	opRaise
	opDrop
	opKeepCaps
	opSetGroups
	opSetResGID
	opSetResUID
	opNoNewPrivs
)

// words are an operation and its arguments.
func words(s ambient.Step) []uint32 {
	switch s := s.(type) {
	case ambient.Capset:
		p, i, e := s.Permitted, s.Inheritable, s.Effective
		return []uint32{opCapset, uint32(p), uint32(p >> 32), uint32(i), uint32(i >> 32), uint32(e), uint32(e >> 32)}
	case ambient.RaiseAmbient:
		return []uint32{opRaise, uint32(s.Cap)}
	case ambient.DropBounding:
		return []uint32{opDrop, uint32(s.Cap)}
	case ambient.SetKeepCaps:
		return []uint32{opKeepCaps}
	case ambient.SetGroups:
		return append([]uint32{opSetGroups}, s.Groups.IDs()...)
	case ambient.SetResGID:
		return []uint32{opSetResGID, s.To.Real, s.To.Effective, s.To.Saved}
	case ambient.SetResUID:
		return []uint32{opSetResUID, s.To.Real, s.To.Effective, s.To.Saved}
	case ambient.SetNoNewPrivs:
		return []uint32{opNoNewPrivs}
	}
	panic(fmt.Sprintf("no operation for %T", s))
}

// step is the other side of words, for the Go child.
func step(w []uint32) ambient.Step {
	set := func(i int) ambient.Set { return ambient.Set(w[i]) | ambient.Set(w[i+1])<<32 }
	ids := func() ambient.IDs { return ambient.IDs{Real: w[1], Effective: w[2], Saved: w[3]} }
	switch w[0] {
	case opCapset:
		return ambient.Capset{Permitted: set(1), Inheritable: set(3), Effective: set(5)}
	case opRaise:
		return ambient.RaiseAmbient{Cap: ambient.Cap(w[1])}
	case opDrop:
		return ambient.DropBounding{Cap: ambient.Cap(w[1])}
	case opKeepCaps:
		return ambient.SetKeepCaps{}
	case opSetGroups:
		return ambient.SetGroups{Groups: ambient.NewGroups(w[1:]...)}
	case opSetResGID:
		return ambient.SetResGID{To: ids()}
	case opSetResUID:
		return ambient.SetResUID{To: ids()}
	}
	return ambient.SetNoNewPrivs{}
}

// putRequest is the sequence as executor.c reads it.
func putRequest(b []byte, q sequence) []byte {
	request := put(putState(nil, q.Start), uint32(len(q.Steps)))
	for _, s := range q.Steps {
		w := words(s)
		request = put(request, w[0], uint32(len(w)-1), w[1:])
	}
	request = append(append(request, q.Exec.Path...), 0)
	for len(request)%4 != 0 {
		request = append(request, 0)
	}
	return append(put(b, uint32(len(request))), request...)
}

// readAnswer reads the records of one sequence. The kernel's groups are sorted and can come twice; a State has them
// once.
func readAnswer(r io.Reader) (all []record, err error) {
	for {
		var rec struct {
			Kind  kind
			Errno uint32
			S     wireState
		}
		if err := binary.Read(r, binary.LittleEndian, &rec); err != nil {
			return all, err
		}
		groups := make([]uint32, rec.S.Groups)
		if err := binary.Read(r, binary.LittleEndian, groups); err != nil {
			return all, err
		}
		w := rec.S
		all = append(all, record{rec.Kind, rec.Errno, ambient.State{
			Permitted: w.Permitted, Inheritable: w.Inheritable, Effective: w.Effective, Bounding: w.Bounding, Ambient: w.Ambient,
			Securebits: w.Securebits, NoNewPrivs: w.NoNewPrivs == 1, UID: w.UID, GID: w.GID, Groups: ambient.NewGroups(groups...),
		}, w.Where})
		if rec.Kind == ended {
			return all, nil
		}
	}
}

// A goRequest is a sequence as the Go child reads it.
type goRequest struct {
	Start ambient.State
	Steps [][]uint32
	Path  string
}
