//go:build linux

package exec

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/ambient"
)

// A Reason says why a program cannot be executed.
type Reason uint8

// The reasons. Those up to Unseen are what Find and Inspect can know before
// anything was changed.
const (
	NotInPath          Reason = iota + 1 // no element of PATH has it
	NotFound                             // Path does not exist
	NotReached                           // a component of Path is no directory, or a loop of symlinks
	NotSearchable                        // the user may not search the directory Culprit
	NotRegular                           // a directory, device, FIFO or socket
	NotExecutable                        // no x for the user
	NoExecMount                          // the file system is mounted noexec
	MissingInterpreter                   // Culprit, named in the "#!" line of Path, does not exist
	MissingLoader                        // Culprit, the ELF interpreter of Path, does not exist
	TooDeep                              // more "#!" interpreters in a row than the kernel follows
	BadCaps                              // security.capability cannot be read or makes no sense
	ForeignCaps                          // security.capability belongs to a root that cannot be told
	Unseen                               // caplaunch may not look where the user may, or a server decides: look again as the user

	WrongArch       // an ELF file for another machine
	MissingEmulator // the same, and what binfmt_misc would run it with does not exist
	MalformedELF    // an ELF file that is damaged or no executable
	NoFormat        // neither an ELF file nor a "#!" line
	Empty           // nothing in it
	TextBusy        // open for writing
	TooLong         // arguments and environment
	TooManyProcs    // RLIMIT_NPROC
	NoMemory        // ENOMEM
	CapsUncovered   // file capabilities outside the bounding set
	Unreadable      // the copy needs to read what the user may only execute
	Changed         // the file was written to or replaced between the look and the copy
	CopyForbidden   // vm.memfd_noexec=2
	CopyTooLarge    // RLIMIT_FSIZE
	CopyFailed      // any other failure to copy
	Returned        // execve reported success, and is still here
	Refused         // no reason can be told but Errno
)

// An Error says why a program cannot be executed, in fields that its text and
// its hint are made of.
type Error struct {
	Reason  Reason
	Path    string     // the file that it is about
	For     string     // the file whose interpreter Path is, "" for the program itself
	Culprit string     // what Path needs and has not: an interpreter, a directory
	Errno   unix.Errno // what execve(2) reports, or would; 0 where it has no part in it
	Mode    uint32     // of Path, if known
	Owner   [2]uint32  // uid and gid of Path, if known
	UID     uint32     // who may not; of ForeignCaps the root they belong to
	Arch    string     // what Path was built for

	binary     bool // Path is no text
	mend       mend // what takes its privilege from Path
	uncopyable bool // --strip-file-caps would not do instead
}

// Unwrap makes errors.Is(err, fs.ErrNotExist) and the like work.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// ExitStatus is 127 for ENOENT and 126 else, as with env(1); 125 where it is
// caplaunch that will not or cannot, and not execve.
func (e *Error) ExitStatus() int {
	switch {
	case e.Errno == unix.EMFILE, e.Errno == unix.ENFILE, e.Reason == ForeignCaps, e.Reason >= Changed && e.Reason <= Returned:
		return ambient.ExitFailure
	case e.Errno == unix.ENOENT:
		return 127
	}
	return 126
}

func (e *Error) Error() string {
	why := ""
	switch e.Reason {
	case NotInPath:
		why = "not found in PATH"
		if e.Path == "" {
			why = "a program without a name"
		}
	case NotFound:
		why = "no such file"
	case NotSearchable:
		why = fmt.Sprintf("uid %d may not search the directory %s", e.UID, quote(e.Culprit))
	case NotRegular:
		why = "not a program but a " + kind(e.Mode)
	case NotExecutable:
		why = fmt.Sprintf("uid %d may not execute it (mode %04o, owner %d:%d)", e.UID, e.Mode&07777, e.Owner[0], e.Owner[1])
	case NoExecMount:
		why = "its file system is mounted noexec"
	case MissingInterpreter:
		why = fmt.Sprintf(`the interpreter of its "#!" line, %s, does not exist`, quote(e.Culprit))
		if e.CRLF() {
			why += ": the line ends in a carriage return, as Windows editors write it"
		}
	case MissingLoader:
		why = fmt.Sprintf("its ELF interpreter, %s, does not exist", quote(e.Culprit))
	case TooDeep:
		why = `more "#!" interpreters in a row than the kernel follows`
	case BadCaps:
		why = "its file capabilities cannot be read: " + e.Errno.Error()
	case ForeignCaps:
		why = "its file capabilities belong to the root of another user namespace, and whether they count cannot be told"
	case Unseen:
		why = fmt.Sprintf("what uid %d may do with %s can be told only as that user", e.UID, quote(e.Culprit))
	case WrongArch:
		why = fmt.Sprintf("built for %s, and this is %s", e.Arch, runtime.GOARCH)
	case MissingEmulator:
		why = fmt.Sprintf("built for %s, and the emulator that binfmt_misc names for it does not exist here (this is %s)", e.Arch, runtime.GOARCH)
	case MalformedELF:
		why = "an ELF file, but damaged, cut off or not an executable"
	case NoFormat:
		if e.binary {
			why = "binary, but no ELF file, which is what Linux runs"
			break
		}
		why = `neither an ELF file nor one whose first line names an interpreter after "#!"`
	case Empty:
		why = "the file is empty"
	case TextBusy:
		why = "text file busy: it is open for writing"
	case TooLong:
		why = "the arguments and the environment are too long together, or one of them alone"
	case TooManyProcs:
		why = fmt.Sprintf("uid %d already has as many processes as RLIMIT_NPROC allows", e.UID)
	case NoMemory:
		why = "not enough memory to load it"
	case CapsUncovered:
		why = "its file capabilities demand more than the bounding set has"
	case Unreadable:
		why = fmt.Sprintf("caplaunch may not read it, so it cannot be copied (mode %04o, owner %d:%d)", e.Mode&07777, e.Owner[0], e.Owner[1])
	case Changed:
		why = "it changed while caplaunch looked at it"
	case CopyForbidden:
		why = "the kernel forbids programs in memory (vm.memfd_noexec=2)"
	case CopyTooLarge:
		why = "the copy would be larger than RLIMIT_FSIZE allows"
	case CopyFailed:
		why = "it cannot be copied to memory: " + e.Errno.Error()
	case Returned:
		why = "execve reported success, but nothing was executed"
	default:
		why = e.Errno.Error()
	}
	if e.For != "" {
		return quote(e.Path) + ", the interpreter of " + quote(e.For) + ": " + why
	}
	return quote(e.Path) + ": " + why
}

// CRLF reports whether the missing interpreter only exists without the
// carriage return at the end of its name.
func (e *Error) CRLF() bool {
	return e.Reason == MissingInterpreter && strings.HasSuffix(e.Culprit, "\r")
}

// Hint is one line that says what to change, "" where there is nothing to say.
func (e *Error) Hint() string {
	path, culprit := shell(e.Path), shell(e.Culprit)
	own := shell(own(e.Path))
	switch e.Reason {
	case NotInPath:
		if e.Path == "" {
			return "write the program behind --: is a variable there that is not set?"
		}
		return "write its whole path, or add its directory to PATH"
	case NotFound:
		return "check the path; COPY it into the image, or mount it"
	case NotReached:
		return "check every part of the path: ls -ld " + path
	case NotSearchable:
		return "chmod a+x " + culprit + " (and the directories above it), or move the program out of it"
	case NotRegular:
		return "name a program"
	case NotExecutable:
		return "chmod a+rx " + path + " (in a Dockerfile: COPY --chmod=0755)"
	case NoExecMount:
		return `mount -o remount,exec "$(findmnt -n -o TARGET --target ` + path + `)" (docker run --tmpfs=DIR:exec), or move the program to another file system`
	case MissingInterpreter:
		if e.CRLF() {
			return `sed -i 's/\r$//' ` + path
		}
		return "install " + culprit + ", or write an interpreter that exists into the first line of " + path
	case MissingLoader:
		switch {
		case strings.Contains(e.Culprit, "ld-musl"):
			return "the image has no musl: build the program static (Go: CGO_ENABLED=0) or use a base image with musl, such as alpine"
		case e.Arch == "386" && runtime.GOARCH == "amd64" && strings.Contains(e.Culprit, "ld-linux"):
			return "the image has no 32-bit glibc: dpkg --add-architecture i386 && apt-get update && apt-get install -y libc6:i386, or build the program for amd64"
		case strings.Contains(e.Culprit, "ld-linux"), strings.Contains(e.Culprit, "/ld64.so"), strings.HasSuffix(e.Culprit, "/ld.so.1"):
			return "the image has no glibc: build the program static (Go: CGO_ENABLED=0) or use a base image with glibc, such as debian:bookworm-slim"
		}
		return "install " + culprit + ", or build the program static"
	case TooDeep:
		return "let the \"#!\" line of " + path + " name a program that is not a script itself"
	case BadCaps, ForeignCaps, CapsUncovered:
		hint := e.mend.line(own)
		if !e.uncopyable {
			hint += ", or run caplaunch with --strip-file-caps"
		}
		if e.Reason == CapsUncovered {
			hint += ", or grant the capabilities"
		}
		return hint
	case WrongArch:
		return "use the build for linux/" + runtime.GOARCH + " (docker build --platform=linux/" + runtime.GOARCH + ")"
	case MissingEmulator:
		return "use the build for linux/" + runtime.GOARCH + ", or register the emulator with the flag F (docker run --privileged --rm tonistiigi/binfmt --install all)"
	case MalformedELF, Empty:
		return "copy or build " + path + " again"
	case NoFormat:
		if e.binary {
			return "use the build for linux/" + runtime.GOARCH + " (docker build --platform=linux/" + runtime.GOARCH + "): this one is for another system, or no program"
		}
		return "sed -i '1i #!/bin/sh' " + path + ", or run it with the shell: caplaunch … -- /bin/sh " + path
	case TextBusy:
		return "wait until whoever writes it closes it: fuser -v " + path
	case TooLong:
		return "ulimit -s unlimited, or fewer or shorter arguments and variables (a single one ends at 128 KiB)"
	case TooManyProcs:
		return `ulimit -S -u "$(ulimit -H -u)" (docker run --ulimit=nproc=-1, systemd LimitNPROC=infinity), or a uid that nothing else runs as`
	case NoMemory:
		return "raise the memory limit, or ulimit -v"
	case Unreadable:
		return "chmod a+r " + path + ", or " + e.mend.line(own) + ", and run without --strip-file-caps"
	case Changed:
		return "run it again when nothing writes to " + path
	case CopyForbidden:
		return e.mend.line(own) + ", and run without --strip-file-caps (or sysctl -w vm.memfd_noexec=1 on the host)"
	case CopyTooLarge:
		return "ulimit -f unlimited (docker run --ulimit=fsize=-1, systemd LimitFSIZE=infinity)"
	}
	switch e.Errno {
	case unix.EMFILE, unix.ENFILE:
		return "ulimit -n 1024 (docker run --ulimit=nofile=1024, systemd LimitNOFILE=1024)"
	case unix.EIO, unix.EINTR:
		return "look at the file system that " + path + " is on: dmesg"
	case unix.EPERM, unix.EACCES:
		if e.Reason == Refused {
			return "neither its mode nor its mount explains it: look at the security module (SELinux, AppArmor: dmesg) and the seccomp profile"
		}
	}
	return ""
}

// A mend is what a file has that gives it privilege, and that can be taken from it.
type mend struct{ caps, setID bool }

// line is the command that does it.
func (m mend) line(word string) string {
	switch {
	case m.caps && m.setID:
		return "setcap -r " + word + " && chmod ug-s " + word
	case m.setID:
		return "chmod ug-s " + word
	}
	return "setcap -r " + word
}

func (f *File) mend() mend {
	return mend{caps: f.Caps != nil || f.capsErr != 0, setID: f.stat.Mode&(unix.S_ISUID|unix.S_ISGID) != 0}
}

// Mend is the command that takes file capabilities and set-id bits from the file
// that credentials come from, whose name word writes for a shell.
func (p Program) Mend(word func(string) string) string {
	f := p.source()
	return f.mend().line(word(own(f.Path)))
}

// own is the path of a file without symlinks, which setcap(8) does not follow, or
// path where that cannot be told.
func own(path string) string {
	if own, err := filepath.EvalSymlinks(path); err == nil {
		return own
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

// plain reports whether s can stand in a line of text as it is.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsGraphic(r) || r == utf8.RuneError || r == ' ' })
}

// quote makes a file name fit into one line, whatever it is.
func quote(name string) string {
	if plain(name) {
		return name
	}
	return strconv.Quote(name)
}

// shell makes a file name fit to be pasted into a shell. A name that no line
// can hold becomes a word to fill in.
func shell(name string) string {
	switch {
	case strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsGraphic(r) || r == utf8.RuneError }):
		return "FILE"
	case strings.HasPrefix(name, "-"):
		return shell("./" + name)
	case plain(name) && !strings.ContainsAny(name, "'\"\\$`!*?[]{}()<>|&;#~"):
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
