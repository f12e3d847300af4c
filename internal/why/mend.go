//go:build linux

package why

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient/linux"
	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// Mend says how to do without the privilege of the program's file: by taking it from the file, and by
// --strip-file-caps where the copy would run.
func Mend(p *exec.Program) string {
	hint := strip(p) + " in the image"
	if Copyable(p) {
		hint += ", or caplaunch --strip-file-caps"
	}
	return hint
}

// Copyable reports whether --strip-file-caps would run the program.
func Copyable(p *exec.Program) bool {
	if p == nil {
		return false
	}
	forbids, _ := linux.ReadFile("/proc/sys/vm/memfd_noexec")
	header, _ := p.Last().ELF()
	return p.Last().Readable && !header.Origin && strings.TrimSpace(forbids) != "2"
}

// strip is the command that takes file capabilities and set-id bits from the program's file.
func strip(p *exec.Program) string {
	if p == nil {
		return ""
	}
	f := p.Last()
	word := shell.Word(ownPath(f.Path))
	var commands []string
	if f.HasCaps() || !f.HasSetID() {
		commands = append(commands, "setcap -r "+word)
	}
	if f.HasSetID() {
		commands = append(commands, "chmod ug-s "+word)
	}
	return strings.Join(commands, " && ")
}

// ownPath is the path of a file without symlinks, which setcap(8) does not follow, or path where that cannot be
// told.
func ownPath(path string) string {
	if own, err := filepath.EvalSymlinks(path); err == nil {
		path = own
	}
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	return path
}

// kind names what is no regular file.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}
