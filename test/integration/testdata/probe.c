// probe tells in what state it was started, as key=value lines on stdout. Strings are quoted as in Go.
//
//   probe [ANYTHING...]   identity, capabilities, argv, cwd of itself (from /proc, or by system calls)
//   probe PID             identity and capabilities of that process
//   probe all             the first form, and limits, scheduling, signals, terminal: what a launcher must not change
//   probe env | fds       environment | open descriptors, in order
//   probe children        what a child gets: forks, executes itself, prints the child's first form
//   probe exit N | signal N | pause
//   probe setuid0         tries setuid(0), prints the result and the first form
//   probe reopen          tries to open /dev/stdout and /dev/stderr for writing
#define _GNU_SOURCE
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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void quoted(const char *key, const char *s) {
	printf("%s=\"", key);
	for (; *s; s++) {
		unsigned char c = *s;
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < ' ' || c > '~')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	puts("\"");
}

static void list(const char *key, char **v) {
	char k[32];
	int n = 0;
	for (; v[n]; n++) {
		snprintf(k, sizeof k, "%s%d", key, n);
		quoted(k, v[n]);
	}
	printf("%sc=%d\n", key, n);
}

static const char *const wanted[] = {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
                                     "NoNewPrivs", "Seccomp"};

// status prints the wanted lines of /proc/PID/status, tabs as single spaces; 0 when there is no such file.
static int status(const char *pid) {
	char path[64], *line = NULL;
	size_t size = 0;
	snprintf(path, sizeof path, "/proc/%s/status", pid);
	FILE *f = fopen(path, "r");
	if (!f)
		return 0;
	while (getline(&line, &size, f) > 0) {
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = 0;
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
			if (strcmp(line, wanted[i]))
				continue;
			printf("%s=", line);
			int n = 0;
			for (char *w = strtok(colon + 1, " \t\n"); w; w = strtok(NULL, " \t\n"))
				printf("%s%s", n++ ? " " : "", w);
			puts("");
		}
	}
	free(line);
	fclose(f);
	return 1;
}

// syscalls prints the same lines as status, of itself, without /proc.
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
	printf("CapBnd=%016lx\nCapAmb=%016lx\n", (unsigned long)b, (unsigned long)a);
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
	quoted("execfn", execfn ? execfn : "");
	char comm[17] = "", cwd[PATH_MAX] = "";
	prctl(PR_GET_NAME, comm);
	quoted("comm", comm);
	quoted("cwd", getcwd(cwd, sizeof cwd) ? cwd : "");
}

static void signals(void) {
	uint64_t ignored = 0, blocked = 0;
	for (int s = 1; s < 65; s++) {
		// The kernel's own call: libc hides 32 and 33.
		struct { void *handler; unsigned long flags; void *restorer; uint64_t mask; } sa = {0};
		if (!syscall(SYS_rt_sigaction, s, NULL, &sa, 8))
			ignored |= (uint64_t)(sa.handler == (void *)SIG_IGN) << (s - 1);
	}
	syscall(SYS_rt_sigprocmask, 0, NULL, &blocked, 8);
	printf("SigIgn=%016lx\nSigBlk=%016lx\n", (unsigned long)ignored, (unsigned long)blocked);
}

static void file(const char *key, const char *path) {
	char b[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof b - 1);
	if (fd >= 0)
		close(fd);
	if (n < 0)
		n = 0;
	b[n] = 0;
	quoted(key, b);
}

static void all(void) {
	printf("descriptors=");
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			printf("%s%d", fd ? " " : "", fd);
	printf("\n");
	mode_t m = umask(0);
	umask(m);
	int sig = 0;
	prctl(PR_GET_PDEATHSIG, &sig);
	printf("umask=%03o\npgid=%d\nsid=%d\npdeathsig=%d\n", m, getpgid(0), getsid(0), sig);
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
	printf("tty=%d\n", fd >= 0);
	if (fd >= 0)
		close(fd);
	signals();
	static const char *const names[] = {"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
	                                    "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime"};
	for (int r = 0; r < 16; r++) {
		struct rlimit l = {0};
		getrlimit(r, &l);
		printf("rlimit_%s=%lld %lld\n", names[r], (long long)l.rlim_cur, (long long)l.rlim_max);
	}
	errno = 0;
	printf("nice=%d\n", getpriority(PRIO_PROCESS, 0));
	struct sched_param sp = {0};
	sched_getparam(0, &sp);
	printf("sched=%d %d\n", sched_getscheduler(0), sp.sched_priority);
	uint64_t cpus[16] = {0};
	long n = syscall(SYS_sched_getaffinity, 0, sizeof cpus, cpus);
	printf("affinity=");
	for (long i = n / 8; i-- > 0;)
		printf("%016lx", (unsigned long)cpus[i]);
	printf("\nioprio=%ld\n", syscall(SYS_ioprio_get, 1, 0));
	printf("timerslack=%d\ndumpable=%d\nsubreaper=", prctl(PR_GET_TIMERSLACK), prctl(PR_GET_DUMPABLE));
	int sub = 0;
	prctl(PR_GET_CHILD_SUBREAPER, &sub);
	printf("%d\npersonality=%lx\n", sub, syscall(SYS_personality, 0xffffffff));
	printf("thp_disable=%d\n", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	printf("keyring_session=%ld\n", syscall(SYS_keyctl, 0, -3, 0));
	file("oom_score_adj", "/proc/self/oom_score_adj");
	file("cgroup", "/proc/self/cgroup");
	file("lsm", "/proc/self/attr/current");
	file("coredump_filter", "/proc/self/coredump_filter");
	static const char *const ns[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
	for (size_t i = 0; i < sizeof ns / sizeof *ns; i++) {
		char p[64], t[64], k[32];
		snprintf(p, sizeof p, "/proc/self/ns/%s", ns[i]);
		ssize_t l = readlink(p, t, sizeof t - 1);
		t[l < 0 ? 0 : l] = 0;
		snprintf(k, sizeof k, "ns_%s", ns[i]);
		quoted(k, t);
	}
	struct stat st = {0};
	stat("/", &st);
	printf("root=%lx:%lu\n", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
}

static void fds(void) {
	struct rlimit l = {1024, 0};
	getrlimit(RLIMIT_NOFILE, &l);
	int max = l.rlim_cur > 65536 ? 65536 : (int)l.rlim_cur, n = 0;
	for (int fd = 0; fd < max; fd++) {
		int flags = fcntl(fd, F_GETFD);
		struct stat st;
		if (flags < 0 || fstat(fd, &st) < 0)
			continue;
		n++;
		char p[64], t[PATH_MAX];
		snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
		ssize_t k = readlink(p, t, sizeof t - 1);
		t[k < 0 ? 0 : k] = 0;
		printf("fd%d=cloexec:%d flags:%o mode:%o owner:%u:%u dev:%lx ino:%lu %s\n", fd, flags & FD_CLOEXEC,
		       fcntl(fd, F_GETFL), st.st_mode, st.st_uid, st.st_gid, (unsigned long)st.st_dev,
		       (unsigned long)st.st_ino, t);
	}
	printf("fds=%d\n", n);
}

static const char *name(int r) { return r < 0 ? strerrorname_np(errno) : "ok"; }

static int attempt(const char *key, int r) {
	printf("%s=%s\n", key, name(r));
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
	if (IS("env"))
		list("env", environ);
	else if (IS("fds"))
		fds();
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
