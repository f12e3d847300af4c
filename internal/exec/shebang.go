//go:build linux

package exec

import "bytes"

// headSize is BINPRM_BUF_SIZE: all that the kernel looks at to tell a format.
const headSize = 256

// A Shebang is a "#!" line as the kernel splits it: everything after the
// interpreter is one argument, which can be empty.
type Shebang struct {
	Interp, Arg string
	HasArg      bool
}

// ParseShebang reads the first bytes of a file as load_script in
// fs/binfmt_script.c does, or reports that they are no "#!" line for it. Like
// the kernel it sees headSize bytes, refuses an interpreter that may be cut off
// there, and takes what ends without a newline.
func ParseShebang(b []byte) (Shebang, bool) {
	var head [headSize]byte
	copy(head[:], b)
	if head[0] != '#' || head[1] != '!' {
		return Shebang{}, false
	}
	const blank = " \t"
	end := bytes.IndexAny(head[:], "\n\x00")
	if end < 0 || head[end] == 0 {
		// Something must end the name within these bytes. The kernel then leaves the
		// last of them out of the line.
		name := bytes.TrimLeft(head[2:], blank)
		if !bytes.ContainsAny(name, blank+"\x00") {
			return Shebang{}, false
		}
		end = headSize - 1
	}
	line := bytes.Trim(head[2:end], blank)
	if len(line) == 0 {
		return Shebang{}, false
	}
	var s Shebang
	if i := bytes.IndexAny(line, blank+"\x00"); i >= 0 {
		if line[i] != 0 {
			s.HasArg = true
			s.Arg = cString(bytes.TrimLeft(line[i:], blank))
		}
		line = line[:i]
	}
	s.Interp = string(line)
	return s, true
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
