//go:build linux

package oracle

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// What executor.c and the Go child read and write: little-endian, a request is
// its size and a sequence, an answer is records up to an ended one.

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

const stateSize = 5*8 + 2*4 + 6*4 + 2*4

var le = binary.LittleEndian

func appendWords(b []byte, words ...uint32) []byte {
	for _, w := range words {
		b = le.AppendUint32(b, w)
	}
	return b
}

func appendState(b []byte, s ambient.State) []byte {
	for _, set := range []ambient.Set{s.Permitted, s.Inheritable, s.Effective, s.Bounding, s.Ambient} {
		b = le.AppendUint64(b, uint64(set))
	}
	var nnp uint32
	if s.NoNewPrivs {
		nnp = 1
	}
	b = appendWords(b, uint32(s.Securebits), nnp)
	b = appendWords(b, s.UID.Real, s.UID.Effective, s.UID.Saved, s.GID.Real, s.GID.Effective, s.GID.Saved)
	b = appendWords(b, uint32(s.Groups.Len()), 0)
	return appendWords(b, s.Groups.IDs()...)
}

func appendRecord(b []byte, r record) []byte {
	return appendState(appendWords(b, uint32(r.Kind), r.Errno), r.State)
}

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

func appendStep(b []byte, s ambient.Step) []byte {
	op := func(n uint32, args ...uint32) []byte {
		return appendWords(appendWords(b, n, uint32(len(args))), args...)
	}
	switch s := s.(type) {
	case ambient.Capset:
		var args []uint32
		for _, set := range []ambient.Set{s.Permitted, s.Inheritable, s.Effective} {
			args = append(args, uint32(set), uint32(set>>32))
		}
		return op(opCapset, args...)
	case ambient.RaiseAmbient:
		return op(opRaise, uint32(s.Cap))
	case ambient.DropBounding:
		return op(opDrop, uint32(s.Cap))
	case ambient.SetKeepCaps:
		return op(opKeepCaps)
	case ambient.SetGroups:
		return op(opSetGroups, s.Groups.IDs()...)
	case ambient.SetResGID:
		return op(opSetResGID, s.To.Real, s.To.Effective, s.To.Saved)
	case ambient.SetResUID:
		return op(opSetResUID, s.To.Real, s.To.Effective, s.To.Saved)
	case ambient.SetNoNewPrivs:
		return op(opNoNewPrivs)
	}
	panic(fmt.Sprintf("no operation for %T", s))
}

// appendRequest is the sequence as the kernel's side reads it.
func appendRequest(b []byte, q sequence) []byte {
	at := len(b)
	b = appendState(appendWords(b, 0), q.Start)
	b = appendWords(b, uint32(len(q.Steps)))
	for _, s := range q.Steps {
		b = appendStep(b, s)
	}
	b = append(b, q.Exec.Path...)
	b = append(b, 0)
	for len(b)%4 != at%4 {
		b = append(b, 0)
	}
	le.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// readState reads what appendState writes. The kernel's groups are sorted and
// can come twice; a State has them once.
func readState(r io.Reader) (s ambient.State, where uint32, err error) {
	var b [stateSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return s, 0, err
	}
	set := func(i int) ambient.Set { return ambient.Set(le.Uint64(b[8*i:])) }
	word := func(i int) uint32 { return le.Uint32(b[40+4*i:]) }
	s.Permitted, s.Inheritable, s.Effective, s.Bounding, s.Ambient = set(0), set(1), set(2), set(3), set(4)
	s.Securebits, s.NoNewPrivs = ambient.Securebits(word(0)), word(1) == 1
	s.UID = ambient.IDs{Real: word(2), Effective: word(3), Saved: word(4)}
	s.GID = ambient.IDs{Real: word(5), Effective: word(6), Saved: word(7)}
	groups := make([]byte, 4*word(8))
	if _, err := io.ReadFull(r, groups); err != nil {
		return s, 0, err
	}
	if len(groups) > 0 {
		ids := make([]uint32, word(8))
		for i := range ids {
			ids[i] = le.Uint32(groups[4*i:])
		}
		s.Groups = ambient.NewGroups(ids...)
	}
	return s, word(9), nil
}

func readRecord(r *bufio.Reader) (record, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return record{}, err
	}
	rec := record{Kind: kind(le.Uint32(b[:])), Errno: le.Uint32(b[4:])}
	var err error
	rec.State, rec.Where, err = readState(r)
	return rec, err
}

// readAnswer reads the records of one sequence.
func readAnswer(r *bufio.Reader) ([]record, error) {
	var all []record
	for {
		rec, err := readRecord(r)
		if err != nil {
			return all, err
		}
		all = append(all, rec)
		if rec.Kind == ended {
			return all, nil
		}
	}
}

// readRequest is the other side of appendRequest, for the Go child.
func readRequest(r io.Reader) (start ambient.State, steps []ambient.Step, path string, err error) {
	var size [4]byte
	if _, err = io.ReadFull(r, size[:]); err != nil {
		return
	}
	if start, _, err = readState(r); err != nil {
		return
	}
	words := func(n uint32) []uint32 {
		b, w := make([]byte, 4*n), make([]uint32, n)
		if _, e := io.ReadFull(r, b); e != nil {
			err = e
		}
		for i := range w {
			w[i] = le.Uint32(b[4*i:])
		}
		return w
	}
	for range words(1)[0] {
		head := words(2)
		a := words(head[1])
		if err != nil {
			return
		}
		set := func(i int) ambient.Set { return ambient.Set(a[i]) | ambient.Set(a[i+1])<<32 }
		switch head[0] {
		case opCapset:
			steps = append(steps, ambient.Capset{Permitted: set(0), Inheritable: set(2), Effective: set(4)})
		case opRaise:
			steps = append(steps, ambient.RaiseAmbient{Cap: ambient.Cap(a[0])})
		case opDrop:
			steps = append(steps, ambient.DropBounding{Cap: ambient.Cap(a[0])})
		case opKeepCaps:
			steps = append(steps, ambient.SetKeepCaps{})
		case opSetGroups:
			steps = append(steps, ambient.SetGroups{Groups: ambient.NewGroups(a...)})
		case opSetResGID:
			steps = append(steps, ambient.SetResGID{To: ambient.IDs{Real: a[0], Effective: a[1], Saved: a[2]}})
		case opSetResUID:
			steps = append(steps, ambient.SetResUID{To: ambient.IDs{Real: a[0], Effective: a[1], Saved: a[2]}})
		case opNoNewPrivs:
			steps = append(steps, ambient.SetNoNewPrivs{})
		}
	}
	rest, e := io.ReadAll(r)
	if e != nil {
		err = e
	}
	for i, c := range rest {
		if c == 0 {
			return start, steps, string(rest[:i]), err
		}
	}
	return start, steps, "", io.ErrUnexpectedEOF
}
