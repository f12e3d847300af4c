// stage puts a process into a starting condition and executes a launcher from it:
//
//   stage [WORD...] -- PROGRAM [ARG...]
//
// Each word is KEY or KEY=VALUE, see main; they are obeyed in their order. Raw calls, because glibc hides
// signals 32 and 33.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void check(long r, const char *what) {
	if (r < 0) {
		fprintf(stderr, "stage: %s: %s\n", what, strerror(errno));
		_exit(120);
	}
}

static void write_file(const char *path, const char *text) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	check(fd, path);
	check(write(fd, text, strlen(text)), path);
	close(fd);
}

// entries replaces the environment by the strings in a file, each ended by NUL.
static void entries(const char *path) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	check(fd, path);
	check(fstat(fd, &st), path);
	char *text = malloc(st.st_size + 1);
	environ = malloc((st.st_size + 1) * sizeof *environ);
	check(read(fd, text, st.st_size), path);
	close(fd);
	int n = 0;
	for (char *p = text; p < text + st.st_size; p += strlen(p) + 1)
		environ[n++] = p;
	environ[n] = NULL;
}

static void ignore(uint64_t set) {
	for (int s = 1; s <= 64; s++) {
		struct { uint64_t handler, flags, restorer, mask; } a = {set >> (s - 1) & 1};
		if (s != SIGKILL && s != SIGSTOP)
			check(syscall(SYS_rt_sigaction, s, &a, NULL, 8), "rt_sigaction");
	}
}

// limit is NAME:SOFT:HARD, the name being the number of the resource.
static void limit(const char *v) {
	unsigned resource;
	unsigned long long soft, hard;
	if (sscanf(v, "%u:%llu:%llu", &resource, &soft, &hard) != 3)
		check(-1, v);
	check(prlimit(0, resource, &(struct rlimit){soft, hard}, NULL), "prlimit");
}

// many opens so many descriptors of each kind, every second one close-on-exec, with flags and offsets.
static void many(int n) {
	for (int i = 0; i < n; i++) {
		int fd = i % 3 == 0 ? open("/dev/zero", O_RDONLY | O_NONBLOCK)
		       : i % 3 == 1 ? open("/etc/passwd", O_RDONLY)
		                    : dup(1);
		check(fd, "open");
		if (i % 3 == 1)
			lseek(fd, i, SEEK_SET);
		if (i % 2)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
}

static void schedule(const char *v) {
	struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } a = {sizeof a};
	if (sscanf(v, "%u:%d:%u:%lu", &a.policy, &a.nice, &a.priority, &a.flags) != 4)
		check(-1, v);
	check(syscall(SYS_sched_setattr, 0, &a, 0), "sched_setattr");
}

static void children(void) {
	if (!fork())
		_exit(7);
	siginfo_t dead;
	waitid(P_ALL, 0, &dead, WEXITED | WNOWAIT);
	pid_t parent = getpid();
	if (!fork()) {
		for (int fd = 0; fd < 4096; fd++)
			close(fd);
		while (getppid() == parent) // a parent-death signal of an unprivileged parent would not be allowed
			usleep(50000);
		_exit(0);
	}
}

// orphan leaves the condition to a child, and ends as soon as there is a file of that name.
static void orphan(const char *path) {
	pid_t child = fork();
	check(child, "fork");
	if (!child)
		return;
	for (int i = 0; i < 4000 && access(path, F_OK); i++)
		usleep(5000);
	_exit(0);
}

int main(int argc, char **argv) {
	(void)argc;
	uint64_t blocked = 0;
	for (argv++; *argv && strcmp(*argv, "--"); argv++) {
		char *v = strchr(*argv, '=');
		size_t n = v ? (size_t)(v - *argv) : strlen(*argv);
		if (v)
			v++;
#define IS(s) (n == strlen(s) && !strncmp(*argv, s, n))
		if (IS("env"))
			entries(v);
		else if (IS("ignore"))
			ignore(strtoull(v, NULL, 16));
		else if (IS("block")) {
			blocked = strtoull(v, NULL, 16);
			check(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, 8), "rt_sigprocmask");
		} else if (IS("pend"))
			check(kill(getpid(), atoi(v)), "kill");
		else if (IS("pend-thread"))
			check(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), atoi(v)), "tgkill");
		else if (IS("close"))
			for (char *p = v; *p; p++)
				close(*p - '0');
		else if (IS("limit"))
			limit(v);
		else if (IS("fds"))
			many(atoi(v));
		else if (IS("nice"))
			check(setpriority(PRIO_PROCESS, 0, atoi(v)), "setpriority");
		else if (IS("schedule"))
			schedule(v);
		else if (IS("affinity")) {
			unsigned long cpus = strtoul(v, NULL, 16);
			check(syscall(SYS_sched_setaffinity, 0, sizeof cpus, &cpus), "sched_setaffinity");
		} else if (IS("ioprio"))
			check(syscall(SYS_ioprio_set, 1, 0, atoi(v)), "ioprio_set");
		else if (IS("oom"))
			write_file("/proc/self/oom_score_adj", v);
		else if (IS("coredump"))
			write_file("/proc/self/coredump_filter", v);
		else if (IS("slack"))
			check(prctl(PR_SET_TIMERSLACK, strtoul(v, NULL, 10)), "PR_SET_TIMERSLACK");
		else if (IS("umask"))
			umask(strtoul(v, NULL, 8));
		else if (IS("personality"))
			check(personality(strtoul(v, NULL, 16)), "personality");
		else if (IS("pdeathsig"))
			check(prctl(PR_SET_PDEATHSIG, atoi(v)), "PR_SET_PDEATHSIG");
		else if (IS("setsid"))
			check(setsid(), "setsid");
		else if (IS("setpgid"))
			check(setpgid(0, 0), "setpgid");
		else if (IS("subreaper"))
			check(prctl(PR_SET_CHILD_SUBREAPER, 1), "PR_SET_CHILD_SUBREAPER");
		else if (IS("thp"))
			check(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "PR_SET_THP_DISABLE");
		else if (IS("undumpable"))
			check(prctl(PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE");
		else if (IS("speculation"))
			check(prctl(PR_SET_SPECULATION_CTRL, 0, PR_SPEC_DISABLE, 0, 0), "PR_SET_SPECULATION_CTRL");
		else if (IS("timers"))
			for (int i = 0; i < 3; i++)
				check(setitimer(i, &(struct itimerval){{5, 7}, {1000, 0}}, NULL), "setitimer");
		else if (IS("gone")) {
			char dir[] = "/tmp/caplaunch-gone-XXXXXX";
			check(mkdtemp(dir) ? chdir(dir) : -1, dir);
			check(rmdir(dir), dir);
		} else if (IS("cd"))
			check(chdir(v), v);
		else if (IS("chroot"))
			check(chroot(v), v);
		else if (IS("lock")) {
			int fd = open(v, O_RDWR);
			check(fd, v);
			check(fcntl(fd, F_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20}), "F_SETLK");
		} else if (IS("keyring"))
			check(syscall(SYS_keyctl, 1, "caplaunch-test"), "keyctl");
		else if (IS("children"))
			children();
		else if (IS("orphan"))
			orphan(v);
		else if (IS("unshare"))
			check(unshare(strtoul(v, NULL, 16)), "unshare");
		else {
			fprintf(stderr, "stage: %s?\n", *argv);
			return 120;
		}
	}
	if (!*argv || !*++argv)
		return 120;
	execve(*argv, argv, environ);
	check(-1, *argv);
}
