//go:build linux

// Package why says in words why a program cannot be executed, and what to change. It only looks: as the present
// user, at the file that was found and at what it needs. What it says decides nothing.
package why

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/caplaunch/caplaunch/internal/exec"
	"github.com/caplaunch/caplaunch/internal/shell"
)

// A reason says why a program cannot be executed.
type reason uint8

const (
	unexplained reason = iota
	notInPath
	noName
	notFound
	notReached
	notSearchable
	notRegular
	notExecutable
	noExecMount
	missingInterpreter
	carriageReturn
	noInterpreter
	tooDeep
	missingLoader
	missingMusl
	missingGlibc
	missingGlibc32
	badLoader
	wrongArch
	missingEmulator
	malformedELF
	notText
	noFormat
	empty
	badCaps
	foreignCaps
	uncoveredCaps
	textBusy
	tooLong
	tooManyProcesses
	noMemory
	tooManyFiles
	badDisk
	refused
	unreadable
	origin
	changed
	copyForbidden
	copyTooLarge
	copyFailed
	returned
)

// table has a sentence and a hint for each reason. In braces stands what is filled in.
var table = [...]struct{ text, hint string }{
	unexplained:        {"{errno}", "check the file and the file system that it is on: ls -l {path}; dmesg"},
	notInPath:          {"not found in PATH", "write its whole path, or add its directory to PATH"},
	noName:             {"a program without a name", "write the program behind --: is a variable there that is not set?"},
	notFound:           {"no such file", "check the path; COPY it into the image, or mount it"},
	notReached:         {"{errno}", "check every part of the path: ls -ld {path}"},
	notSearchable:      {"uid {uid} may not search the directory {Culprit}", "chmod a+x {culprit} (and the directories above it), or move the program out of it"},
	notRegular:         {"not a program but a {kind}", "name a program"},
	notExecutable:      {"uid {uid} may not execute it (mode {mode}, owner {owner})", "chmod a+rx {path} (in a Dockerfile: COPY --chmod=0755)"},
	noExecMount:        {"its file system is mounted noexec", `mount -o remount,exec "$(findmnt -n -o TARGET --target {path})" (docker run --tmpfs=DIR:exec), or move the program to another file system`},
	missingInterpreter: {`the interpreter of its "#!" line, {Culprit}, does not exist`, "install {culprit}, or write an interpreter that exists into the first line of {path}"},
	carriageReturn:     {`the interpreter of its "#!" line, {Culprit}, does not exist: the line ends in a carriage return, as Windows editors write it`, `sed -i 's/\r$//' {path}`},
	noInterpreter:      {`its "#!" line names no interpreter`, "sed -i '1c #!/bin/sh' {path}"},
	tooDeep:            {`more "#!" interpreters in a row than the kernel follows`, `let the "#!" line of {path} name a program that is not a script itself`},
	missingLoader:      {"its ELF interpreter, {Culprit}, does not exist", "install {culprit}, or build the program static"},
	missingMusl:        {"its ELF interpreter, {Culprit}, does not exist", "the image has no musl: build the program static (Go: CGO_ENABLED=0) or use a base image with musl, such as alpine"},
	missingGlibc:       {"its ELF interpreter, {Culprit}, does not exist", "the image has no glibc: build the program static (Go: CGO_ENABLED=0) or use a base image with glibc, such as debian:bookworm-slim"},
	missingGlibc32:     {"its ELF interpreter, {Culprit}, does not exist", "the image has no 32-bit glibc: dpkg --add-architecture i386 && apt-get update && apt-get install -y libc6:i386, or build the program for amd64"},
	badLoader:          {"its ELF interpreter, {Culprit}, is damaged, cut off or for another machine", "install {culprit} again"},
	wrongArch:          {"built for {arch}, and this is {goarch}", "use the build for linux/{goarch} (docker build --platform=linux/{goarch})"},
	missingEmulator:    {"built for {arch}, and the emulator that binfmt_misc names for it does not exist here (this is {goarch})", "use the build for linux/{goarch}, or register the emulator with the flag F (docker run --privileged --rm tonistiigi/binfmt --install all)"},
	malformedELF:       {"an ELF file, but damaged, cut off or not an executable", "copy or build {path} again"},
	notText:            {"binary, but no ELF file, which is what Linux runs", "use the build for linux/{goarch} (docker build --platform=linux/{goarch}): this one is for another system, or no program"},
	noFormat:           {`neither an ELF file nor one whose first line names an interpreter after "#!"`, "sed -i '1i #!/bin/sh' {path}, or run it with the shell: caplaunch … -- /bin/sh {path}"},
	empty:              {"the file is empty", "copy or build {path} again"},
	badCaps:            {"its file capabilities make no sense to the kernel", "{mend}"},
	foreignCaps:        {"its file capabilities belong to the root of another user namespace, and whether they count cannot be told", "{mend}"},
	uncoveredCaps:      {"its file capabilities demand more than the bounding set has", "{mend}, or grant the capabilities"},
	textBusy:           {"text file busy: it is open for writing", "wait until whoever writes it closes it: fuser -v {path}"},
	tooLong:            {"the arguments and the environment are too long together, or one of them alone", "ulimit -s unlimited, or fewer or shorter arguments and variables (a single one ends at 128 KiB)"},
	tooManyProcesses:   {"uid {uid} already has as many processes as RLIMIT_NPROC allows", `ulimit -S -u "$(ulimit -H -u)" (docker run --ulimit=nproc=-1, systemd LimitNPROC=infinity), or a uid that nothing else runs as`},
	noMemory:           {"not enough memory to load it", "raise the memory limit, or ulimit -v"},
	tooManyFiles:       {"{errno}", "ulimit -n 1024 (docker run --ulimit=nofile=1024, systemd LimitNOFILE=1024)"},
	badDisk:            {"{errno}", "look at the file system that {path} is on: dmesg"},
	refused:            {"{errno}", "neither its mode nor its mount explains it: look at the security module (SELinux, AppArmor: dmesg) and the seccomp profile"},
	unreadable:         {"uid {uid} may not read it, so it cannot be copied (mode {mode}, owner {owner})", "chmod a+r {path}, or {strip} and run without --strip-file-caps"},
	origin:             {"its RPATH or RUNPATH has $ORIGIN, which a copy in memory cannot resolve", "{strip} in the image, and run without --strip-file-caps"},
	changed:            {"it changed while caplaunch looked at it", "run it again when nothing writes to {path}"},
	copyForbidden:      {"the kernel forbids programs in memory (vm.memfd_noexec=2)", "{strip} in the image, and run without --strip-file-caps (or sysctl -w vm.memfd_noexec=1 on the host)"},
	copyTooLarge:       {"the copy would be larger than RLIMIT_FSIZE allows", "ulimit -f unlimited (docker run --ulimit=fsize=-1, systemd LimitFSIZE=infinity)"},
	copyFailed:         {"it cannot be copied to memory: {errno}", "check the memory limit, and whether a seccomp profile forbids memfd_create"},
	returned:           {"execve reported success, but nothing was executed", "a seccomp filter or a tracer answers for the kernel: start caplaunch without"},
}

// Explain says why e came about, and what to change; p is the program, where one was found.
func Explain(e *exec.Error, p *exec.Program) (text, hint string) {
	c := &cause{Error: e, program: p, culprit: e.Path}
	c.reason = c.find()
	var st unix.Stat_t
	_ = unix.Stat(c.Path, &st)
	fill := strings.NewReplacer(
		"{path}", shell.Word(ownPath(c.Path)), "{culprit}", shell.Word(c.culprit), "{Culprit}", quote(c.culprit),
		"{errno}", c.Err.Error(), "{uid}", fmt.Sprint(unix.Geteuid()), "{kind}", kind(st.Mode),
		"{mode}", fmt.Sprintf("%04o", st.Mode&0o7777), "{owner}", fmt.Sprintf("%d:%d", st.Uid, st.Gid),
		"{arch}", arch(c.elf), "{goarch}", runtime.GOARCH, "{mend}", Mend(p), "{strip}", strip(p))
	text = quote(c.Path) + ": " + fill.Replace(table[c.reason].text)
	if c.For != "" && c.reason != missingInterpreter && c.reason != carriageReturn {
		text = quote(c.Path) + ", the interpreter of " + quote(c.For) + ": " + fill.Replace(table[c.reason].text)
	}
	return text, fill.Replace(table[c.reason].hint)
}

// A cause is an error that is being looked into.
type cause struct {
	*exec.Error
	program *exec.Program
	reason  reason
	culprit string // an interpreter or a directory
	elf     exec.ELF
}

// plain are the reasons that need no look.
var plain = map[error]reason{
	exec.ErrNotInPath: notInPath, exec.ErrNoName: noName, exec.ErrNotRegular: notRegular, exec.ErrNoInterpreter: noInterpreter,
	exec.ErrTooDeep: tooDeep, exec.ErrBadCaps: badCaps, exec.ErrForeignCaps: foreignCaps, exec.ErrUnreadable: unreadable,
	exec.ErrOrigin: origin, exec.ErrChanged: changed, exec.ErrReturned: returned,
	unix.ETXTBSY: textBusy, unix.E2BIG: tooLong, unix.EAGAIN: tooManyProcesses, unix.ENOMEM: noMemory,
	unix.EMFILE: tooManyFiles, unix.ENFILE: tooManyFiles, unix.EIO: badDisk, unix.EINTR: badDisk,
	unix.ELOOP: notReached, unix.ENOTDIR: notReached, unix.ENAMETOOLONG: notReached,
}

// find is the reason for the error.
func (c *cause) find() reason {
	switch {
	case c.Copy && c.Err == unix.EACCES:
		return copyForbidden
	case c.Copy && c.Err == unix.EFBIG:
		return copyTooLarge
	case c.Copy && plain[c.Err] == unexplained:
		return copyFailed
	}
	switch c.Err {
	case unix.ENOENT:
		return c.absent()
	case exec.ErrNotExecutable, unix.EACCES:
		return c.inaccessible()
	case unix.ENOEXEC, unix.EINVAL, unix.ELIBBAD, unix.EIO:
		if r := c.content(); r != unexplained {
			return r
		}
	case unix.EPERM:
		if c.program != nil && c.program.Last().HasCaps() {
			return uncoveredCaps
		}
		return refused
	}
	return plain[c.Err]
}

// absent looks for what does not exist: the file, or an interpreter of it.
func (c *cause) absent() reason {
	if c.For != "" {
		script := c.For
		c.culprit, c.Error = c.Path, &exec.Error{Path: script, For: script, Err: c.Err}
		if strings.HasSuffix(c.culprit, "\r") {
			return carriageReturn
		}
		return missingInterpreter
	}
	if c.program == nil {
		return notFound
	}
	f := c.program.Last()
	elf, err := f.ELF()
	c.elf = elf
	if err != nil || native(elf) && elf.Interp == "" {
		return notFound
	}
	c.Error = &exec.Error{Path: f.Path, Err: c.Err}
	if !native(elf) {
		return missingEmulator
	}
	switch c.culprit = elf.Interp; {
	case strings.Contains(elf.Interp, "ld-musl"):
		return missingMusl
	case arch(elf) == "386" && runtime.GOARCH == "amd64" && strings.Contains(elf.Interp, "ld-linux"):
		return missingGlibc32
	case strings.Contains(elf.Interp, "ld-linux"), strings.Contains(elf.Interp, "/ld64.so"), strings.HasSuffix(elf.Interp, "/ld.so.1"):
		return missingGlibc
	}
	return missingLoader
}

// inaccessible looks for what the user may not do: search a directory on the way, or execute the file or its ELF
// interpreter.
func (c *cause) inaccessible() reason {
	if c.Err == unix.EACCES && c.program != nil { // execve said so of a file that may be executed
		if elf, err := c.program.Last().ELF(); err == nil && elf.Interp != "" && !mayExecute(elf.Interp) {
			c.Error = &exec.Error{Path: elf.Interp, For: c.program.Last().Path, Err: c.Err}
		}
	}
	var fs unix.Statfs_t
	switch dir := unsearchable(c.Path); {
	case dir != "":
		c.culprit = dir
		return notSearchable
	case unix.Statfs(c.Path, &fs) == nil && fs.Flags&unix.MS_NOEXEC != 0:
		return noExecMount
	case c.Err == unix.EACCES && mayExecute(c.Path):
		return refused
	}
	return notExecutable
}

// mayExecute reports whether the present user may execute path.
func mayExecute(path string) bool {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) == nil
}

// unsearchable is the first directory on the way to path, symlinks followed, that the user may not search, or "".
func unsearchable(path string) string {
	for links := 0; links < 40; links++ {
		dir := "."
		if strings.HasPrefix(path, "/") {
			dir = "/"
		}
		parts := strings.Split(path, "/")
		for i, part := range parts {
			if part == "" {
				continue
			}
			if !mayExecute(dir) {
				return dir
			}
			next := filepath.Join(dir, part)
			to, err := os.Readlink(next)
			if err == nil {
				if !filepath.IsAbs(to) {
					to = filepath.Join(dir, to)
				}
				path = filepath.Join(append([]string{to}, parts[i+1:]...)...)
				break
			}
			if dir = next; i == len(parts)-1 {
				return ""
			}
		}
	}
	return ""
}

// content says what about the file made execve refuse it.
func (c *cause) content() reason {
	if c.program == nil {
		return unexplained
	}
	f := c.program.Last()
	c.Error = &exec.Error{Path: f.Path, Err: c.Err}
	elf, err := f.ELF()
	c.elf = elf
	switch {
	case f.HasCaps() && c.Err == unix.EINVAL:
		return badCaps
	case len(f.Head) == 0 && f.Readable:
		return empty
	case errors.Is(err, exec.ErrNotELF) && c.Err == unix.ENOEXEC && !isText(f.Head):
		return notText
	case errors.Is(err, exec.ErrNotELF) && c.Err == unix.ENOEXEC:
		return noFormat
	case elf.Machine != 0 && c.Err == unix.ENOEXEC && arch(elf) != runtime.GOARCH:
		return wrongArch
	case err == nil && c.Err != unix.ENOEXEC && elf.Interp != "":
		c.culprit = elf.Interp
		return badLoader
	case elf.Machine != 0 || errors.Is(err, exec.ErrMalformedELF):
		return malformedELF
	}
	return unexplained
}

func isText(head []byte) bool {
	return !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' })
}

// Doubt is the error with which execve will answer because of what the file contains, nil for what the kernel runs
// by itself. It is Foreign where a handler of binfmt_misc may run the file all the same.
func Doubt(p *exec.Program) (e *exec.Error, foreign bool) {
	f := p.Last()
	if !f.Readable {
		return nil, false
	}
	elf, err := f.ELF()
	if err == nil && native(elf) {
		return loaderDoubt(p, elf), false
	}
	return &exec.Error{Path: p.Path, Err: unix.ENOEXEC}, err == nil || errors.Is(err, exec.ErrNotELF) && !isText(f.Head)
}

// loaderDoubt is Doubt about the ELF interpreter.
func loaderDoubt(p *exec.Program, elf exec.ELF) *exec.Error {
	if elf.Interp == "" {
		return nil
	}
	err := unix.Access(elf.Interp, unix.F_OK)
	if err == nil && !mayExecute(elf.Interp) {
		err = unix.EACCES
	}
	if err == nil {
		if loader, openErr := os.Open(elf.Interp); openErr == nil {
			defer loader.Close()
			if l, parseErr := exec.ParseELF(loader); parseErr != nil || l.Machine != elf.Machine {
				err = unix.ELIBBAD
			}
		}
	}
	if err != nil {
		return &exec.Error{Path: p.Path, Err: err}
	}
	return nil
}
