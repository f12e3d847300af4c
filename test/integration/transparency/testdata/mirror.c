// mirror writes down all that a program can find out about how it was started, one line each.
//
//   mirror FILE [ARG...]       writes to FILE
//   mirror await FILE SIGNAL   writes "ready" to FILE, waits for the signal, writes "got SIGNAL" to it
//
// What is different in every process (numbers of processes, addresses, times) is put in words: "self" is
// this process, "parent" its parent. Raw calls where a libc would hide something.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

enum { descriptors = 4096 };

static FILE *out;

static void quoted(const char *s, size_t n) {
	fputc('"', out);
	for (size_t i = 0; i < n; i++) {
		unsigned char c = s[i];
		if (c == '"' || c == '\\' || c < ' ' || c > '~')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputs("\"\n", out);
}

static void text(const char *key, const char *s) {
	fprintf(out, "%s ", key);
	quoted(s, strlen(s));
}

static void number(const char *key, long n) { fprintf(out, "%s %ld\n", key, n); }

// answer is the result of a call, or its error.
static void answer(const char *key, long r) {
	if (r < 0)
		fprintf(out, "%s %s\n", key, strerrorname_np(errno));
	else
		number(key, r);
}

static void process(const char *key, pid_t p) {
	if (p == getpid())
		fprintf(out, "%s self\n", key);
	else if (p == getppid())
		fprintf(out, "%s parent\n", key);
	else
		number(key, p);
}

static void target(const char *key, const char *path) {
	char b[PATH_MAX];
	ssize_t n = readlink(path, b, sizeof b);
	fprintf(out, "%s ", key);
	if (n < 0)
		fprintf(out, "%s\n", strerrorname_np(errno));
	else
		quoted(b, n);
}

static void content(const char *key, const char *path) {
	static char b[1 << 16];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof b);
	int failed = errno;
	if (fd >= 0)
		close(fd);
	fprintf(out, "%s ", key);
	if (n < 0)
		fprintf(out, "%s\n", strerrorname_np(failed));
	else
		quoted(b, n);
}

static void list(const char *key, char **v) {
	int n = 0;
	for (; v[n]; n++) {
		fprintf(out, "%s ", key);
		quoted(v[n], strlen(v[n]));
	}
	fprintf(out, "%ss %d\n", key, n);
}

// What is open, looked at before anything else is opened.
static struct descriptor { int flags, status, owner, signal, size; off_t offset; struct stat st; } found[descriptors];

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
		fprintf(out, "fd %d flags %d status %o offset %ld signal %d pipe %d owner %s ", fd, d->flags, d->status, (long)d->offset,
		        d->signal, d->size, d->owner == 0 ? "none" : d->owner == getpid() ? "self" : "other");
		if (S_ISCHR(d->st.st_mode) && d->st.st_rdev >> 8 >= 136 && d->st.st_rdev >> 8 < 144)
			fprintf(out, "terminal\n");
		else
			fprintf(out, "type %o rdev %lx file %lx:%lu\n", d->st.st_mode & S_IFMT, (long)d->st.st_rdev, (long)d->st.st_dev, (long)d->st.st_ino);
	}
	number("fds", n);
}

// status copies /proc/self/status but for what is different in every process.
static void status(void) {
	static const char *const skipped[] = {"Pid", "Tgid", "Ngid", "PPid", "NStgid", "NSpid", "NSpgid", "NSsid", "SigQ", "Vm", "Rss", "Huge",
	                                      "voluntary", "nonvoluntary", "x86_Thread"};
	char *line = NULL;
	size_t size = 0;
	FILE *f = fopen("/proc/self/status", "re");
	if (!f) {
		text("status", strerrorname_np(errno));
		return;
	}
	while (getline(&line, &size, f) > 0) {
		int skip = 0;
		for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++)
			skip |= !strncmp(line, skipped[i], strlen(skipped[i]));
		char *value = strchr(line, ':');
		if (skip || !value)
			continue;
		*value++ = 0;
		value += strspn(value, "\t ");
		value[strcspn(value, "\n")] = 0;
		for (char *p = value; *p; p++)
			if (*p == '\t')
				*p = ' ';
		fprintf(out, "status %s %s\n", line, value);
	}
	free(line);
	fclose(f);
}

static void locks(void) {
	char *line = NULL, own[32];
	size_t size = 0;
	FILE *f = fopen("/proc/locks", "re");
	snprintf(own, sizeof own, " %d ", getpid());
	while (f && getline(&line, &size, f) > 0) {
		char *at = strstr(line, own), *kind = strchr(line, ':');
		if (at && kind) {
			*at = 0;
			fprintf(out, "lock%s self %s", kind + 1, at + strlen(own));
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
	fprintf(out, "ignored %016lx\nhandled %016lx\nblocked %016lx\npending %016lx\n", ignored, handled, blocked, pending);
	stack_t alternate;
	sigaltstack(NULL, &alternate);
	fprintf(out, "altstack %x\n", alternate.ss_flags);
	for (int which = 0; which < 3; which++) {
		struct itimerval t;
		getitimer(which, &t);
		// The rest goes down while we look: only whether there is one.
		fprintf(out, "itimer%d runs %d interval %ld.%06ld\n", which, t.it_value.tv_sec > 0 || t.it_value.tv_usec > 0,
		        (long)t.it_interval.tv_sec, (long)t.it_interval.tv_usec);
	}
}

static void terminal(void) {
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	fprintf(out, "terminal %s\n", fd < 0 ? strerrorname_np(errno) : "yes");
	if (fd < 0)
		return;
	struct winsize w = {0};
	struct termios t = {0};
	ioctl(fd, TIOCGWINSZ, &w);
	ioctl(fd, TCGETS, &t);
	fprintf(out, "window %d %d\ntermios %x %x %x %x\n", w.ws_row, w.ws_col, t.c_iflag, t.c_oflag, t.c_cflag, t.c_lflag);
	process("foreground", tcgetpgrp(fd));
	process("terminal_session", tcgetsid(fd));
	close(fd);
}

static void scheduling(void) {
	struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; uint32_t min, max; } a = {0};
	long r = syscall(SYS_sched_getattr, 0, &a, sizeof a, 0);
	fprintf(out, "sched %ld policy %u flags %lu nice %d priority %u runtime %lu deadline %lu period %lu clamp %u %u\n", r, a.policy, a.flags, a.nice,
	        a.priority, a.runtime, a.deadline, a.period, a.min, a.max);
	errno = 0;
	number("nice", getpriority(PRIO_PROCESS, 0));
	unsigned long cpus[16] = {0}, nodes[16] = {0};
	long n = syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);
	fprintf(out, "affinity %ld %lx %lx\n", n, cpus[0], cpus[1]);
	answer("ioprio", syscall(SYS_ioprio_get, 1, 0));
	int mode = -1;
	answer("get_mempolicy", syscall(SYS_get_mempolicy, &mode, nodes, 1024ul, NULL, 0ul));
	fprintf(out, "mempolicy %d %lx\n", mode, nodes[0]);
	content("oom_score_adj", "/proc/self/oom_score_adj");
	content("timerslack_ns", "/proc/self/timerslack_ns");
	content("autogroup", "/proc/self/autogroup");
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
	int v = -1;
	prctl(PR_GET_PDEATHSIG, &v);
	number("pdeathsig", v);
	v = -1;
	prctl(PR_GET_CHILD_SUBREAPER, &v);
	number("subreaper", v);
	fprintf(out, "personality %lx\n", syscall(SYS_personality, 0xffffffff));
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
	signals();
	status();
	content("comm", "/proc/self/comm");
	target("exe", "/proc/self/exe");
	target("cwd", "/proc/self/cwd");
	target("root", "/proc/self/root");
	char dir[PATH_MAX];
	text("getcwd", getcwd(dir, sizeof dir) ? dir : strerrorname_np(errno));
	mode_t mask = umask(0);
	umask(mask);
	fprintf(out, "umask %03o\n", mask);

	static const char *const limits[] = {"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending",
	                                     "msgqueue", "nice", "rtprio", "rttime"};
	for (int r = 0; r < 16; r++) {
		struct rlimit l = {0};
		getrlimit(r, &l);
		fprintf(out, "rlimit %s %lld %lld\n", limits[r], (long long)l.rlim_cur, (long long)l.rlim_max);
	}
	scheduling();
	controls();
	terminal();
	answer("keyring_session", syscall(SYS_keyctl, 0, -3, 0));
	answer("keyring_process", syscall(SYS_keyctl, 0, -2, 0));
	answer("keyring_thread", syscall(SYS_keyctl, 0, -1, 0));
	content("cgroup", "/proc/self/cgroup");
	content("cpuset", "/proc/self/cpuset");
	content("coredump_filter", "/proc/self/coredump_filter");
	content("lsm", "/proc/self/attr/current");
	content("loginuid", "/proc/self/loginuid");
	content("sessionid", "/proc/self/sessionid");
	content("uid_map", "/proc/self/uid_map");
	content("setgroups", "/proc/self/setgroups");
	content("timens", "/proc/self/timens_offsets");
	static const char *const spaces[] = {"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"};
	for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
		char path[64], key[64];
		snprintf(path, sizeof path, "/proc/self/ns/%s", spaces[i]);
		snprintf(key, sizeof key, "namespace %s", spaces[i]);
		target(key, path);
	}
	descriptor_lines();
	locks();
	auxiliary(argv);
	list("arg", argv);
	list("env", environ);
}

static int await(const char *path, int signal) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signal);
	sigprocmask(SIG_BLOCK, &set, NULL);
	out = fopen(path, "we");
	if (!out)
		return 99;
	setbuf(out, NULL);
	fprintf(out, "ready\n");
	struct timespec limit = {20, 0};
	fprintf(out, "got %d\n", sigtimedwait(&set, NULL, &limit));
	return 0;
}

int main(int argc, char **argv) {
	if (argc == 4 && !strcmp(argv[1], "await"))
		return await(argv[2], atoi(argv[3]));
	look();
	if (argc < 2 || !(out = fopen(argv[1], "we")))
		return 99;
	reflect(argv);
	return fclose(out) ? 99 : 0;
}
