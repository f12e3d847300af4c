package unit

import (
	"debug/elf"
	"encoding/binary"
)

// An ELF is a program to be written: a header, the program headers, the interpreter, the strings and the dynamic
// section, in this order.
type ELF struct {
	Class, Data byte
	Machine     uint16
	Interp      string
	Base        uint64 // of its one PT_LOAD; 0 as in a PIE
	Dynamic     []Tag  // strings stand for their place in the string table
}

// A Tag is an entry of the dynamic section that speaks of a string.
type Tag = struct {
	Tag  elf.DynTag
	Text string
}

func (m ELF) Bytes() (b []byte) {
	var order binary.ByteOrder = binary.LittleEndian
	if m.Data == 2 {
		order = binary.BigEndian
	}
	// put writes what is for 64 bits, or the other.
	put := func(wide, narrow any) {
		if m.Class == 1 {
			wide = narrow
		}
		var err error
		if b, err = binary.Append(b, order, wide); err != nil {
			panic(err)
		}
	}
	header, entry, dyn := 64, 56, 16
	if m.Class == 1 {
		header, entry, dyn = 52, 32, 8
	}
	segments := 1
	for _, is := range []bool{m.Interp != "", m.Dynamic != nil} {
		if is {
			segments++
		}
	}
	ident := [16]byte{0x7f, 'E', 'L', 'F', m.Class, m.Data, 1}
	put(elf.Header64{Ident: ident, Type: 2, Machine: m.Machine, Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(segments)},
		elf.Header32{Ident: ident, Type: 2, Machine: m.Machine, Version: 1, Phoff: 52, Ehsize: 52, Phentsize: 32, Phnum: uint16(segments)})
	segment := func(kind elf.ProgType, at, size int) {
		v, n := m.Base+uint64(at), uint64(size)
		put(elf.Prog64{Type: uint32(kind), Flags: 5, Off: uint64(at), Vaddr: v, Filesz: n, Memsz: n, Align: 4096},
			elf.Prog32{Type: uint32(kind), Flags: 5, Off: uint32(at), Vaddr: uint32(v), Filesz: uint32(n), Memsz: uint32(n), Align: 4096})
	}
	interp := header + segments*entry
	table, places := "\x00", []int{}
	for _, d := range m.Dynamic {
		places = append(places, len(table))
		table += d.Text + "\x00"
	}
	strings := interp + len(m.Interp) + 1
	dynamic, size := strings+len(table), (len(m.Dynamic)+2)*dyn
	if m.Interp != "" {
		segment(elf.PT_INTERP, interp, len(m.Interp)+1)
	}
	if m.Dynamic != nil {
		segment(elf.PT_DYNAMIC, dynamic, size)
	}
	segment(elf.PT_LOAD, 0, dynamic+size)
	b = append(b, m.Interp+"\x00"+table...)
	add := func(tag elf.DynTag, value uint64) {
		put(elf.Dyn64{Tag: int64(tag), Val: value}, elf.Dyn32{Tag: int32(tag), Val: uint32(value)})
	}
	for i, d := range m.Dynamic {
		add(d.Tag, uint64(places[i]))
	}
	add(elf.DT_STRTAB, m.Base+uint64(strings))
	add(elf.DT_NULL, 0)
	return b
}
