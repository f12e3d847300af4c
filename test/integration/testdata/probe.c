// probe tells in what state it was started, as key=value lines on stdout. Strings are quoted as in Go.
//
//   probe [ANYTHING...]         identity, capabilities, argv, cwd of itself (from /proc, or by system calls)
//   probe PID                   identity and capabilities of that process
//   probe all                   the first form, and what a launcher must not change
//   probe env | fds             environment | open descriptors, in order
//   probe children              what a child gets: forks, executes itself, prints the child's first form
//   probe exit N | signal N | pause
//   probe setuid0               tries setuid(0), prints the result and the first form
//   probe reopen                tries to open /dev/stdout and /dev/stderr for writing
//   probe mirror FILE [ARG...]  writes to FILE all that a program can find out about how it was started, "key value"
//   probe await FILE SIGNAL     writes "ready" to FILE, waits for the signal, writes "got SIGNAL" to it
//
// In a mirror what is different in every process (numbers of processes, addresses, times) is put in words: "self" is
// this process, "parent" its parent. Raw calls where a libc would hide something.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

static FILE *out;
static char eq = '='; // between key and value

static void quoted(const char *key, const char *s, size_t n) {
	fprintf(out, "%s%c\"", key, eq);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = s[i];
		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < ' ' || c > '~')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputs("\"\n", out);
}

static void text(const char *key, const char *s) { quoted(key, s, strlen(s)); }
static void word(const char *key, const char *s) { fprintf(out, "%s%c%s\n", key, eq, s); }
static void number(const char *key, long n) { fprintf(out, "%s%c%ld\n", key, eq, n); }
static void mask(const char *key, uint64_t m) { fprintf(out, "%s%c%016lx\n", key, eq, (unsigned long)m); }
static const char *name(long r) { return r < 0 ? strerrorname_np(errno) : "ok"; }

// answer is the result of a call, or its error.
static void answer(const char *key, long r) {
	if (r < 0)
		word(key, name(r));
	else
		number(key, r);
}

static void process(const char *key, pid_t p) {
	if (p == getpid() || p == getppid())
		word(key, p == getpid() ? "self" : "parent");
	else
		number(key, p);
}

static void quoted_or_error(const char *key, const char *s, ssize_t n) {
	if (n < 0)
		word(key, name(n));
	else
		quoted(key, s, n);
}

static void target(const char *key, const char *path) {
	char b[PATH_MAX];
	quoted_or_error(key, b, readlink(path, b, sizeof b));
}

static void content(const char *key, const char *path) {
	static char b[1 << 16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	quoted_or_error(key, b, fd < 0 ? -1 : read(fd, b, sizeof b));
	if (fd >= 0)
		close(fd);
}

// list prints strings, with a number in the key where keys are to differ.
static void list(const char *key, char **v) {
	char k[32];
	int n = 0;
	for (; v[n]; n++) {
		snprintf(k, sizeof k, eq == '=' ? "%s%d" : "%s", key, n);
		text(k, v[n]);
	}
	snprintf(k, sizeof k, "%sc", key);
	number(k, n);
}

static const char *const wanted[] = {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", NULL};

// What is different in every process.
static const char *const own[] = {"Pid", "Tgid", "Ngid", "PPid", "NStgid", "NSpid", "NSpgid", "NSsid", "SigQ", "Vm", "Rss", "Huge", "voluntary",
                                  "nonvoluntary", "x86_Thread", NULL};

static int in(const char *const *names, const char *s, int begins) {
	for (; *names; names++)
		if (begins ? !strncmp(s, *names, strlen(*names)) : !strcmp(s, *names))
			return 1;
	return 0;
}

// status prints the wanted lines of /proc/PID/status, in a mirror all but its own, with single spaces; 0 when there is no such file.
static int status(const char *pid) {
	char path[64], *line = NULL;
	size_t size = 0;
	snprintf(path, sizeof path, "/proc/%s/status", pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	while (getline(&line, &size, f) > 0) {
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = 0;
		if (eq == '=' ? !in(wanted, line, 0) : in(own, line, 1))
			continue;
		fprintf(out, "%s%s%c", eq == '=' ? "" : "status ", line, eq);
		int n = 0;
		for (char *w = strtok(colon + 1, " \t\n"); w; w = strtok(NULL, " \t\n"))
			fprintf(out, "%s%s", n++ ? " " : "", w);
		fputc('\n', out);
	}
	free(line);
	fclose(f);
	return 1;
}

// syscalls prints the wanted lines of status, of itself, without /proc.
static void syscalls(void) {
	uid_t r, e, s, f;
	getresuid(&r, &e, &s);
	f = syscall(SYS_setfsuid, -1);
	printf("Uid=%u %u %u %u\n", r, e, s, f);
	getresgid(&r, &e, &s);
	f = syscall(SYS_setfsgid, -1);
	printf("Gid=%u %u %u %u\n", r, e, s, f);
	static gid_t g[65536];
	int n = getgroups(65536, g);
	printf("Groups=");
	for (int i = 0; i < n; i++)
		printf("%s%u", i ? " " : "", g[i]);
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0}};
	syscall(SYS_capget, &h, d);
	printf("\nCapInh=%08x%08x\nCapPrm=%08x%08x\nCapEff=%08x%08x\n", d[1].inheritable, d[0].inheritable,
	       d[1].permitted, d[0].permitted, d[1].effective, d[0].effective);
	uint64_t b = 0, a = 0;
	for (int c = 0; c < 64; c++) {
		b |= (uint64_t)(prctl(PR_CAPBSET_READ, c) == 1) << c;
		a |= (uint64_t)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == 1) << c;
	}
	mask("CapBnd", b);
	mask("CapAmb", a);
	printf("NoNewPrivs=%d\nSeccomp=%d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP));
}

static void state(char **argv) {
	int proc = status("self");
	if (!proc)
		syscalls();
	printf("proc=%d\npid=%d\nppid=%d\n", proc, getpid(), getppid());
	printf("securebits=%x\nAT_SECURE=%lu\n", prctl(PR_GET_SECUREBITS), getauxval(AT_SECURE));
	list("arg", argv);
	const char *execfn = (const char *)getauxval(AT_EXECFN);
	text("execfn", execfn ? execfn : "");
	char comm[17] = "", cwd[PATH_MAX] = "";
	prctl(PR_GET_NAME, comm);
	text("comm", comm);
	text("cwd", getcwd(cwd, sizeof cwd) ? cwd : "");
}

// What is open, looked at before anything else is opened.
static struct descriptor { int flags, status, owner, signal, size; off_t offset; struct stat st; } found[4096];
enum { descriptors = sizeof found / sizeof *found };

static void look(void) {
	for (int fd = 0; fd < descriptors; fd++) {
		struct descriptor *d = &found[fd];
		if ((d->flags = fcntl(fd, F_GETFD)) < 0)
			continue;
		d->status = fcntl(fd, F_GETFL);
		d->owner = fcntl(fd, F_GETOWN);
		d->signal = fcntl(fd, F_GETSIG);
		d->size = fcntl(fd, F_GETPIPE_SZ);
		d->offset = lseek(fd, 0, SEEK_CUR);
		fstat(fd, &d->st);
	}
}

static void descriptor_lines(void) {
	int n = 0;
	for (int fd = 0; fd < descriptors; fd++) {
		struct descriptor *d = &found[fd];
		if (d->flags < 0)
			continue;
		n++;
		fprintf(out, "fd %d%cflags %d status %o offset %ld signal %d pipe %d owner %s ", fd, eq, d->flags, d->status, (long)d->offset, d->signal,
		        d->size, d->owner == 0 ? "none" : d->owner == getpid() ? "self" : "other");
		if (S_ISCHR(d->st.st_mode) && d->st.st_rdev >> 8 >= 136 && d->st.st_rdev >> 8 < 144)
			fprintf(out, "terminal\n");
		else
			fprintf(out, "type %o rdev %lx file %lx:%lu\n", d->st.st_mode & S_IFMT, (long)d->st.st_rdev, (long)d->st.st_dev, (long)d->st.st_ino);
	}
	number("fds", n);
}

static void locks(void) {
	char *line = NULL, self[32];
	size_t size = 0;
	FILE *f = fopen("/proc/locks", "re");
	snprintf(self, sizeof self, " %d ", getpid());
	while (f && getline(&line, &size, f) > 0) {
		char *at = strstr(line, self), *kind = strchr(line, ':');
		if (at && kind) {
			*at = 0;
			fprintf(out, "lock%s self %s", kind + 1, at + strlen(self));
		}
	}
	free(line);
	if (f)
		fclose(f);
}

static void signals(void) {
	struct action { uint64_t handler, flags, restorer, mask; } a;
	uint64_t ignored = 0, handled = 0, blocked = 0, pending = 0;
	for (int s = 1; s <= 64; s++) {
		memset(&a, 0, sizeof a);
		syscall(SYS_rt_sigaction, s, NULL, &a, 8);
		if (a.handler == 1)
			ignored |= 1ull << (s - 1);
		else if (a.handler)
			handled |= 1ull << (s - 1);
	}
	syscall(SYS_rt_sigprocmask, 0, NULL, &blocked, 8);
	syscall(SYS_rt_sigpending, &pending, 8);
	mask("ignored", ignored);
	mask("handled", handled);
	mask("blocked", blocked);
	mask("pending", pending);
	stack_t alternate;
	sigaltstack(NULL, &alternate);
	number("altstack", alternate.ss_flags);
	for (int which = 0; which < 3; which++) {
		struct itimerval t;
		getitimer(which, &t);
		// The rest goes down while we look: only whether there is one.
		fprintf(out, "itimer%d%cruns %d interval %ld.%06ld\n", which, eq, t.it_value.tv_sec > 0 || t.it_value.tv_usec > 0,
		        (long)t.it_interval.tv_sec, (long)t.it_interval.tv_usec);
	}
}

static void terminal(void) {
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	word("terminal", fd < 0 ? name(fd) : "yes");
	if (fd < 0)
		return;
	struct winsize w = {0};
	struct termios t = {0};
	ioctl(fd, TIOCGWINSZ, &w);
	ioctl(fd, TCGETS, &t);
	fprintf(out, "window%c%d %d\ntermios%c%x %x %x %x\n", eq, w.ws_row, w.ws_col, eq, t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag);
	process("foreground", tcgetpgrp(fd));
	process("terminal_session", tcgetsid(fd));
	close(fd);
}

static void scheduling(void) {
	struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; uint32_t min, max; } a = {0};
	long r = syscall(SYS_sched_getattr, 0, &a, sizeof a, 0);
	fprintf(out, "sched%c%ld policy %u flags %lu priority %u runtime %lu deadline %lu period %lu clamp %u %u\n", eq, r, a.policy, a.flags,
	        a.priority, a.runtime, a.deadline, a.period, a.min, a.max);
	number("nice", getpriority(PRIO_PROCESS, 0));
	unsigned long cpus[16] = {0}, nodes[16] = {0};
	long n = syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);
	fprintf(out, "affinity%c%ld %lx %lx\n", eq, n, cpus[0], cpus[1]);
	answer("ioprio", syscall(SYS_ioprio_get, 1, 0));
	int mode = -1;
	answer("get_mempolicy", syscall(SYS_get_mempolicy, &mode, nodes, 1024ul, NULL, 0ul));
	fprintf(out, "mempolicy%c%d %lx\n", eq, mode, nodes[0]);
}

static void limits(void) {
	static const char *const names[] = {"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending",
	                                    "msgqueue", "nice", "rtprio", "rttime"};
	for (int r = 0; r < 16; r++) {
		struct rlimit l = {0};
		getrlimit(r, &l);
		fprintf(out, "rlimit %s%c%lld %lld\n", names[r], eq, (long long)l.rlim_cur, (long long)l.rlim_max);
	}
}

static void controls(void) {
	static const struct { const char *name; int op, arg; } asked[] = {
		{"timerslack", PR_GET_TIMERSLACK}, {"dumpable", PR_GET_DUMPABLE}, {"keepcaps", PR_GET_KEEPCAPS}, {"securebits", PR_GET_SECUREBITS},
		{"no_new_privs", PR_GET_NO_NEW_PRIVS}, {"thp_disable", PR_GET_THP_DISABLE}, {"timing", PR_GET_TIMING}, {"mce_kill", PR_MCE_KILL_GET},
		{"seccomp", PR_GET_SECCOMP}, {"io_flusher", 58}, {"speculation0", PR_GET_SPECULATION_CTRL, 0}, {"speculation1", PR_GET_SPECULATION_CTRL, 1},
		{"speculation2", PR_GET_SPECULATION_CTRL, 2}, {"mdwe", 66}, {"memory_merge", 68},
	};
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
		answer(asked[i].name, prctl(asked[i].op, asked[i].arg, 0, 0, 0));
	int death = -1, subreaper = -1;
	prctl(PR_GET_PDEATHSIG, &death);
	prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
	number("pdeathsig", death);
	number("subreaper", subreaper);
	fprintf(out, "personality%c%lx\n", eq, syscall(SYS_personality, 0xffffffff));
}

// surroundings are what a launcher must not change, and what can be compared between any two starts.
static void surroundings(void) {
	signals();
	mode_t m = umask(0);
	umask(m);
	fprintf(out, "umask%c%03o\n", eq, m);
	limits();
	scheduling();
	controls();
	terminal();
	answer("keyring_session", syscall(SYS_keyctl, 0, -3, 0));
	answer("keyring_process", syscall(SYS_keyctl, 0, -2, 0));
	answer("keyring_thread", syscall(SYS_keyctl, 0, -1, 0));
	static const char *const files[] = {"oom_score_adj", "timerslack_ns", "autogroup", "cgroup", "cpuset", "coredump_filter", "attr/current",
	                                    "loginuid", "sessionid", "uid_map", "setgroups", "timens_offsets"};
	char path[64], key[64];
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		snprintf(path, sizeof path, "/proc/self/%s", files[i]);
		content(files[i], path);
	}
	static const char *const spaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};
	for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i]);
		snprintf(key, sizeof key, "namespace %s", spaces[i]);
		target(key, path);
	}
}

static void all(void) {
	printf("descriptors=");
	for (int fd = 0; fd < 1024; fd++)
		if (found[fd].flags >= 0)
			printf("%s%d", fd ? " " : "", fd);
	printf("\npgid=%d\nsid=%d\n", getpgid(0), getsid(0));
	struct stat st = {0};
	stat("/", &st);
	printf("root=%lx:%lu\n", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
	surroundings();
}

// auxiliary prints the auxiliary vector but for what is an address.
static void auxiliary(char **argv) {
	char **p = environ;
	while (*p++)
		;
	int fixed = syscall(SYS_personality, 0xffffffff) & 0x0040000; // ADDR_NO_RANDOMIZE
	for (Elf64_auxv_t *a = (Elf64_auxv_t *)p; a->a_type != AT_NULL; a++) {
		switch (a->a_type) {
		case AT_EXECFN: text("auxv execfn", (char *)a->a_un.a_val); break;
		case AT_PLATFORM: text("auxv platform", (char *)a->a_un.a_val); break;
		case AT_RANDOM: case AT_SYSINFO_EHDR: case AT_PHDR: case AT_BASE: case AT_ENTRY:
			if (fixed)
				fprintf(out, "auxv %lu at %lx\n", a->a_type, a->a_un.a_val);
			break;
		default: fprintf(out, "auxv %lu %lx\n", a->a_type, a->a_un.a_val);
		}
	}
	if (fixed)
		fprintf(out, "stack %p %p heap %p\n", argv, environ[0] ? environ[0] : NULL, sbrk(0));
}

static void reflect(char **argv) {
	process("sid", getsid(0));
	process("pgid", getpgid(0));
	number("pid", getpid());
	number("ppid", getppid());
	number("tid-is-pid", getpid() == syscall(SYS_gettid));

	// First, while SIGCHLD and the children are as they came.
	siginfo_t child = {0};
	if (!waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT))
		fprintf(out, "dead child %s status %d\n", child.si_pid ? "yes" : "no", child.si_status);
	else
		fprintf(out, "dead child %s\n", strerrorname_np(errno));
	if (!status("self"))
		word("status", name(-1));
	content("comm", "/proc/self/comm");
	target("exe", "/proc/self/exe");
	target("cwd", "/proc/self/cwd");
	target("root", "/proc/self/root");
	char dir[PATH_MAX];
	text("getcwd", getcwd(dir, sizeof dir) ? dir : strerrorname_np(errno));
	surroundings();
	descriptor_lines();
	locks();
	auxiliary(argv);
	list("arg", argv);
	list("env", environ);
}

static int await(const sigset_t *set) {
	setbuf(out, NULL);
	fprintf(out, "ready\n");
	struct timespec limit = {20, 0};
	fprintf(out, "got %d\n", sigtimedwait(set, NULL, &limit));
	return 0;
}

static int attempt(const char *key, int r) {
	word(key, name(r));
	return r < 0;
}

static int children(char **argv) {
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		char *v[] = {argv[0], "child", NULL};
		execv((const char *)getauxval(AT_EXECFN), v);
		execv("/proc/self/exe", v);
		execv(argv[0], v);
		printf("child=%s\n", name(-1));
		fflush(stdout);
		_exit(1);
	}
	int st = 0;
	if (pid < 0 || waitpid(pid, &st, 0) < 0)
		return attempt("child", -1);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1;
}

int main(int argc, char **argv) {
	const char *mode = argc > 1 ? argv[1] : "";
	int n = argc > 2 ? atoi(argv[2]) : 0, code = 0;
	out = stdout;
#define IS(s) (!strcmp(mode, s))
	if (IS("exit"))
		return n;
	if (IS("signal")) {
		signal(n, SIG_DFL);
		kill(getpid(), n);
		return 0;
	}
	if (IS("pause"))
		for (;;)
			pause();
	look();
	if (argc > 2 && (IS("mirror") || IS("await"))) {
		eq = ' ';
		sigset_t set;
		sigemptyset(&set);
		if (IS("await")) { // blocked first: whoever waits for the file sends it
			sigaddset(&set, atoi(argv[3]));
			sigprocmask(SIG_BLOCK, &set, NULL);
		}
		if (!(out = fopen(argv[2], "we")))
			return 99;
		if (IS("await"))
			return await(&set);
		reflect(argv);
		return fclose(out) ? 99 : 0;
	}
	if (IS("env"))
		list("env", environ);
	else if (IS("fds"))
		descriptor_lines();
	else if (IS("children"))
		code = children(argv);
	else if (IS("reopen"))
		code = attempt("stdout", open("/dev/stdout", O_WRONLY | O_CLOEXEC)) |
		       attempt("stderr", open("/dev/stderr", O_WRONLY | O_CLOEXEC));
	else if (argc == 2 && *mode && strspn(mode, "0123456789") == strlen(mode))
		code = !status(mode);
	else {
		if (IS("setuid0"))
			attempt("setuid0", setuid(0));
		state(argv);
		if (IS("all"))
			all();
	}
	return fflush(stdout) ? 1 : code;
}
