//go:build linux

package why

// A row is a reason for which a program cannot be executed: what is said, and what to change. In braces stands what
// Explain fills in.
type row struct{ text, hint string }

var (
	unexplained        = &row{"{errno}", "check the file and the file system that it is on: ls -l {path}; dmesg"}
	notInPath          = &row{"not found in PATH", "write its whole path, or add its directory to PATH"}
	noName             = &row{"a program without a name", "write the program behind --: is a variable there that is not set?"}
	notFound           = &row{"no such file", "check the path; COPY it into the image, or mount it"}
	notReached         = &row{"{errno}", "check every part of the path: ls -ld {path}"}
	notSearchable      = &row{"uid {uid} may not search the directory {culprit}", "chmod a+x {culprit} (and the directories above it), or move the program out of it"}
	notRegular         = &row{"not a program but a {kind}", "name a program"}
	notExecutable      = &row{"uid {uid} may not execute it (mode {mode}, owner {owner})", "chmod a+rx {path} (in a Dockerfile: COPY --chmod=0755)"}
	noExecMount        = &row{"its file system is mounted noexec", `mount -o remount,exec "$(findmnt -n -o TARGET --target {path})" (docker run --tmpfs=DIR:exec), or move the program to another file system`}
	missingInterpreter = &row{`the interpreter of its "#!" line, {culprit}, does not exist`, "install {culprit}, or write an interpreter that exists into the first line of {path}"}
	carriageReturn     = &row{`the interpreter of its "#!" line, {culprit}, does not exist: the line ends in a carriage return, as Windows editors write it`, `sed -i 's/\r$//' {path}`}
	noInterpreter      = &row{`its "#!" line names no interpreter`, "sed -i '1c #!/bin/sh' {path}"}
	tooDeep            = &row{`more "#!" interpreters in a row than the kernel follows`, `let the "#!" line of {path} name a program that is not a script itself`}
	missingLoader      = &row{"its ELF interpreter, {culprit}, does not exist", "install {culprit}, or build the program static"}
	missingMusl        = &row{"its ELF interpreter, {culprit}, does not exist", "the image has no musl: build the program static (Go: CGO_ENABLED=0) or use a base image with musl, such as alpine"}
	missingGlibc       = &row{"its ELF interpreter, {culprit}, does not exist", "the image has no glibc: build the program static (Go: CGO_ENABLED=0) or use a base image with glibc, such as debian:bookworm-slim"}
	missingGlibc32     = &row{"its ELF interpreter, {culprit}, does not exist", "the image has no 32-bit glibc: dpkg --add-architecture i386 && apt-get update && apt-get install -y libc6:i386, or build the program for amd64"}
	badLoader          = &row{"its ELF interpreter, {culprit}, is damaged, cut off or for another machine", "install {culprit} again"}
	wrongArch          = &row{"built for {arch}, and this is {goarch}", "use the build for linux/{goarch} (docker build --platform=linux/{goarch})"}
	missingEmulator    = &row{"built for {arch}, and the emulator that binfmt_misc names for it does not exist here (this is {goarch})", "use the build for linux/{goarch}, or register the emulator with the flag F (docker run --privileged --rm tonistiigi/binfmt --install all)"}
	malformedELF       = &row{"an ELF file, but damaged, cut off or not an executable", "copy or build {path} again"}
	notText            = &row{"binary, but no ELF file, which is what Linux runs", "use the build for linux/{goarch} (docker build --platform=linux/{goarch}): this one is for another system, or no program"}
	noFormat           = &row{`neither an ELF file nor one whose first line names an interpreter after "#!"`, "sed -i '1i #!/bin/sh' {path}, or run it with the shell: caplaunch … -- /bin/sh {path}"}
	empty              = &row{"the file is empty", "copy or build {path} again"}
	badCaps            = &row{"its file capabilities make no sense to the kernel", "{mend}"}
	hiddenCaps         = &row{"its file capabilities cannot be told: a seccomp filter or a tracer answers getxattr for the kernel", "start caplaunch without that filter, or caplaunch --strip-file-caps"}
	foreignCaps        = &row{"its file capabilities belong to the root of another user namespace, and whether they count cannot be told", "{mend}"}
	uncoveredCaps      = &row{"its file capabilities demand more than the bounding set has", "{mend}, or grant the capabilities"}
	textBusy           = &row{"text file busy: it is open for writing", "wait until whoever writes it closes it: fuser -v {path}"}
	tooLong            = &row{"the arguments and the environment are too long together, or one of them alone", "ulimit -s unlimited, or fewer or shorter arguments and variables (a single one ends at 128 KiB)"}
	tooManyProcesses   = &row{"uid {uid} already has as many processes as RLIMIT_NPROC allows", `ulimit -S -u "$(ulimit -H -u)" (docker run --ulimit=nproc=-1, systemd LimitNPROC=infinity), or a uid that nothing else runs as`}
	noMemory           = &row{"not enough memory to load it", "raise the memory limit, or ulimit -v"}
	tooManyFiles       = &row{"{errno}", "ulimit -n 1024 (docker run --ulimit=nofile=1024, systemd LimitNOFILE=1024)"}
	hidden             = &row{"{errno}, and uid {uid} may not read it, so it cannot be told why (mode {mode}, owner {owner})", "chmod a+r {path}, and run it again: then the reason is told"}
	badDisk            = &row{"{errno}", "look at the file system that {path} is on: dmesg"}
	refused            = &row{"{errno}", "neither its mode nor its mount explains it: look at the security module (SELinux, AppArmor: dmesg) and the seccomp profile"}
	unreadable         = &row{"uid {uid} may not read it, so it cannot be copied (mode {mode}, owner {owner})", "chmod a+r {path}, or {strip} and run without --strip-file-caps"}
	opaque             = &row{"uid {uid} may not read it, so it cannot be told what it would gain (mode {mode}, owner {owner})", "chmod a+r {path}, or run without --allow-new-privs"}
	origin             = &row{"its RPATH or RUNPATH has $ORIGIN, which a copy in memory cannot resolve", "{strip} in the image, and run without --strip-file-caps"}
	changed            = &row{"it changed while caplaunch looked at it", "run it again when nothing writes to {path}"}
	copyForbidden      = &row{"the kernel forbids programs in memory (vm.memfd_noexec=2)", "{strip} in the image, and run without --strip-file-caps (or sysctl -w vm.memfd_noexec=1 on the host)"}
	copyTooLarge       = &row{"the copy would be larger than RLIMIT_FSIZE allows", "ulimit -f unlimited (docker run --ulimit=fsize=-1, systemd LimitFSIZE=infinity)"}
	copyFailed         = &row{"it cannot be copied to memory: {errno}", "check the memory limit, and whether a seccomp profile forbids memfd_create"}
	returned           = &row{"execve reported success, but nothing was executed", "a seccomp filter or a tracer answers for the kernel: start caplaunch without"}
)
