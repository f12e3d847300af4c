// start makes the starting states of the tests. It is compiled once for each of these, by -DMAIN=NAME:
//
//   capstart [OPTIONS] -- PROGRAM [ARG...]                 from a state of ids, sets and securebits
//   stage [WORD...] -- PROGRAM [ARG...]                    from conditions of another kind
//   userns [OPTIONS] -- PROGRAM [ARG...]                   in a new user namespace
//   claunch UID GID CAPS PROGRAM [ARG...]                  what caplaunch is compared with
//   deny ERRNO NUMBER[,ARG0[,ARG1]] -- PROGRAM [ARG...]    behind a seccomp filter
//   fill [-u UID] -- PROGRAM [ARG...]                      while the queue of signals of a user is full
//   noargs PROGRAM                                         with no arguments at all, not even a name
//   threads main|other|both|hop                            waits, with threads that have other capabilities
//
// Exit status 120: the state could not be reached. Raw calls where glibc hides something.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
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
		fprintf(stderr, "start: %s: %s\n", what, strerror(errno));
		_exit(120);
	}
}

static void put(const char *path, const char *content) {
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	check(fd, path);
	check(write(fd, content, strlen(content)), path);
	close(fd);
}

struct sets { uint64_t p, i, e; };

static struct sets get(void) {
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	check(syscall(SYS_capget, &h, d), "capget");
	return (struct sets){d[0].permitted | (uint64_t)d[1].permitted << 32,
	                     d[0].inheritable | (uint64_t)d[1].inheritable << 32,
	                     d[0].effective | (uint64_t)d[1].effective << 32};
}

static void set(struct sets s, const char *what) {
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{s.e, s.p, s.i}, {s.e >> 32, s.p >> 32, s.i >> 32}};
	check(syscall(SYS_capset, &h, d), what);
}

static void raise_ambient(uint64_t caps) {
	for (int c = 0; c < 64; c++)
		if (caps >> c & 1)
			check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0), "raise ambient");
}

static uint64_t mask(const char *s) {
	char *end;
	uint64_t v = strtoull(s, &end, 16);
	if (!*s || *end)
		errno = EINVAL, check(-1, s);
	return v;
}

struct ids { int given; uint32_t r, e, s; };

static struct ids ids(const char *s) {
	struct ids v = {1, 0, 0, 0};
	if (!s)
		return (struct ids){0};
	int n = sscanf(s, "%u,%u,%u", &v.r, &v.e, &v.s);
	if (n == 1)
		v.e = v.s = v.r;
	else if (n != 3)
		errno = EINVAL, check(-1, s);
	return v;
}

// groups is a list, with ranges as LO-HI, or "none".
static void groups(const char *s) {
	static gid_t list[70000];
	size_t n = 0;
	while (strcmp(s, "none") && *s) {
		char *end;
		unsigned long lo = strtoul(s, &end, 10), hi = lo;
		if (*end == '-')
			hi = strtoul(end + 1, &end, 10);
		for (; lo <= hi && n < sizeof list / sizeof *list; lo++)
			list[n++] = lo;
		s = *end ? end + 1 : end;
	}
	check(syscall(SYS_setgroups, n, list), "setgroups");
}

// become sets what is given, and keeps the capabilities.
static void become(const char *list, struct ids g, struct ids u) {
	if (list)
		groups(list);
	if (g.given)
		check(setresgid(g.r, g.e, g.s), "setresgid");
	if (u.given) {
		check(prctl(PR_SET_KEEPCAPS, 1), "keepcaps");
		check(setresuid(u.r, u.e, u.s), "setresuid");
	}
}

static void jail(const char *dir) {
	if (!dir)
		return;
	check(chroot(dir), "chroot");
	check(chdir("/"), "chdir");
}

static int run(char **argv) {
	if (*argv)
		execvp(*argv, argv);
	fprintf(stderr, "start: %s: %s\n", *argv ? *argv : "no program", strerror(errno));
	return *argv ? 127 : 120;
}

//   -u ID | R,E,S    real, effective and saved uid           -p MASK  permitted     -s BITS  securebits
//   -g ID | R,E,S    the same for the gid                    -e MASK  effective     -n       no_new_privs
//   -G LIST | none   supplementary groups, ranges as LO-HI   -i MASK  inheritable   -C FD    close a descriptor
//   -I SIG  ignore, -M SIG  block a signal                   -b MASK  bounding
//   -R DIR  chroot, and cd to its /                          -a MASK  ambient
//
// Masks are hex. What is not given stays as the kernel leaves it. The state is that BEFORE execve, which then
// follows its own rules: a uid other than 0 keeps ambient only; uid 0 gets bounding|inheritable, unless
// securebits has noroot (1) or no_new_privs is set, which keeps permitted as it was.
int capstart(int argc, char **argv) {
	char *has[128] = {0};
	sigset_t blocked;
	sigemptyset(&blocked);
	int o;
	while ((o = getopt(argc, argv, "+u:g:G:p:i:e:b:a:s:nI:M:C:R:")) != -1) {
		switch (o) {
		case 'n': has[o] = ""; break;
		case 'I': signal(atoi(optarg), SIG_IGN); break;
		case 'M': sigaddset(&blocked, atoi(optarg)); break;
		case 'C': close(atoi(optarg)); break;
		case '?': return 120;
		default: has[o] = optarg;
		}
	}
	jail(has['R']);
	struct sets now = get();
	// Inheritable before bounding: a bit may only be added while it is in the bounding set.
	if (has['i']) {
		now.i = mask(has['i']);
		set(now, "inheritable");
	}
	if (has['b']) {
		uint64_t b = mask(has['b']);
		for (int c = 0; c < 64; c++)
			if (!(b >> c & 1) && prctl(PR_CAPBSET_READ, c) == 1)
				check(prctl(PR_CAPBSET_DROP, c), "drop bounding");
	}
	struct ids u = ids(has['u']);
	become(has['G'], ids(has['g']), u);
	if (u.given) {
		now.e = now.p; // an effective uid that is not 0 has cleared effective
		set(now, "effective after setresuid");
	}
	uint64_t a = has['a'] ? mask(has['a']) : 0;
	if (has['a'])
		check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clear ambient");
	raise_ambient(a);
	check(prctl(PR_SET_KEEPCAPS, 0), "keepcaps");
	// Securebits last of what needs SETPCAP: no_cap_ambient_raise and the locks forbid the steps above.
	if (has['s'])
		check(prctl(PR_SET_SECUREBITS, mask(has['s'])), "securebits");
	if (has['p'])
		now.p = mask(has['p']);
	else if (u.given && u.r && u.e && u.s)
		now.p = a; // as setresuid without keepcaps
	now.e = has['e'] ? mask(has['e']) : now.p;
	set(now, "permitted and effective");
	if (has['n'])
		check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	return run(argv + optind);
}

//   -u R,E,S  -g R,E,S  -G LIST | none   ids and groups outside, before the namespace is made
//   -m MAP  -n MAP                       uid_map and gid_map, entries "INSIDE OUTSIDE COUNT" split at commas
//   -d                                   setgroups is denied in it
//   -k                                   all capabilities of the namespace are kept, as ambient ones
//   -R DIR                               chroot
//
// An id that no map has is left unmapped, as the ids of whoever enters a namespace from outside are.
int userns(int argc, char **argv) {
	char *has[128] = {0};
	int o, ready[2];
	while ((o = getopt(argc, argv, "+u:g:G:m:n:dkR:")) != -1)
		has[o] = optarg ? optarg : "";
	check(pipe2(ready, O_CLOEXEC), "pipe");
	// The child writes the maps, from outside: whoever started this process waits for it, and no other.
	pid_t self = getpid(), writer = fork();
	check(writer, "fork");
	if (!writer) {
		char c, path[64];
		close(ready[1]);
		if (read(ready[0], &c, 1) != 1)
			_exit(120);
		struct { const char *file; char *content; } maps[] = {{"setgroups", has['d'] ? "deny" : NULL}, {"uid_map", has['m']}, {"gid_map", has['n']}};
		for (int i = 0; i < 3; i++) {
			if (!maps[i].content)
				continue;
			for (char *p; (p = strchr(maps[i].content, ','));)
				*p = '\n';
			snprintf(path, sizeof path, "/proc/%d/%s", self, maps[i].file);
			put(path, maps[i].content);
		}
		_exit(0);
	}
	become(has['G'], ids(has['g']), ids(has['u']));
	check(unshare(CLONE_NEWUSER), "unshare");
	check(write(ready[1], "x", 1), "pipe");
	int status;
	check(waitpid(writer, &status, 0), "wait");
	if (status)
		return 120;
	jail(has['R']);
	if (has['k']) {
		struct sets now = get();
		now.i = now.p;
		set(now, "inheritable");
		raise_ambient(now.p);
	}
	return run(argv + optind);
}

// is reports whether an entry sets key.
static int is(const char *entry, const char *key) {
	size_t n = strlen(key);
	return !strncmp(entry, key, n) && entry[n] == '=';
}

// replace puts value in the place of the first entry of key and drops the others, but only where the first one is
// missing, empty or root's own. Without a value it drops them all.
static void replace(const char *key, char *value, const char *roots) {
	char **to = environ;
	int first = 1;
	for (char **from = environ; *from; from++) {
		if (!is(*from, key)) {
			*to++ = *from;
			continue;
		}
		const char *was = *from + strlen(key) + 1;
		if (first && *was && strcmp(was, roots))
			return;
		if (first && value)
			*to++ = value;
		first = 0;
	}
	if (first && value)
		*to++ = value;
	*to = NULL;
}

// environment drops what is caplaunch's, as far as the tests set it, and gives HOME=/ and no name to a new user
// without an entry in passwd.
static void environment(int switched) {
	int n = 0;
	while (environ[n])
		n++;
	char **mine = calloc(n + 2, sizeof *mine), **to = mine;
	for (char **from = environ; *from; from++)
		if (!is(*from, "CAPLAUNCH_QUIET"))
			*to++ = *from;
	environ = mine;
	if (switched) {
		replace("HOME", "HOME=/", "/root");
		replace("USER", NULL, "root");
		replace("LOGNAME", NULL, "root");
	}
}

// CAPS in hex; the only supplementary group is GID. What it asks the kernel for is caplaunch's order of calls, and so
// are the variables that it removes and sets.
int claunch(int argc, char **argv) {
	if (argc < 5)
		return 120;
	uid_t uid = atol(argv[1]);
	gid_t gid = atol(argv[2]);
	uint64_t caps = mask(argv[3]);
	int switched = uid != getuid() || gid != getgid(), death = 0;
	check(prctl(PR_GET_PDEATHSIG, &death), "PR_GET_PDEATHSIG");
	if (switched) {
		check(prctl(PR_SET_KEEPCAPS, 1), "PR_SET_KEEPCAPS");
		groups(argv[2]);
		check(setresgid(gid, gid, gid), "setresgid");
		check(setresuid(uid, uid, uid), "setresuid");
	}
	set((struct sets){caps, caps, caps}, "capset");
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clear ambient");
	raise_ambient(caps);
	if (switched)
		check(prctl(PR_SET_KEEPCAPS, 0), "PR_SET_KEEPCAPS");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	if (death)
		check(prctl(PR_SET_PDEATHSIG, death), "PR_SET_PDEATHSIG");
	environment(switched);
	execv(argv[4], argv + 4);
	check(-1, argv[4]);
	return 0;
}

// entries replaces the environment by the strings in a file, each ended by NUL.
static void entries(const char *path) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	check(fd, path);
	check(fstat(fd, &st), path);
	char *strings = malloc(st.st_size + 1);
	environ = malloc((st.st_size + 1) * sizeof *environ);
	check(read(fd, strings, st.st_size), path);
	close(fd);
	int n = 0;
	for (char *p = strings; p < strings + st.st_size; p += strlen(p) + 1)
		environ[n++] = p;
	environ[n] = NULL;
}

static void ignore(uint64_t signals) {
	for (int s = 1; s <= 64; s++) {
		struct { uint64_t handler, flags, restorer, mask; } a = {signals >> (s - 1) & 1};
		if (s != SIGKILL && s != SIGSTOP)
			check(syscall(SYS_rt_sigaction, s, &a, NULL, 8), "rt_sigaction");
	}
}

static void block(uint64_t signals) { check(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &signals, NULL, 8), "rt_sigprocmask"); }

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

// gone leaves the working directory deleted.
static void gone(void) {
	char dir[] = "/tmp/caplaunch-gone-XXXXXX";
	check(mkdtemp(dir) ? chdir(dir) : -1, dir);
	check(rmdir(dir), dir);
}

static void lock(const char *path) {
	int fd = open(path, O_RDWR);
	check(fd, path);
	check(fcntl(fd, F_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 20}), "F_SETLK");
}

// Each word is KEY or KEY=VALUE; they are obeyed in their order.
int stage(int argc, char **argv) {
	(void)argc;
	for (argv++; *argv && strcmp(*argv, "--"); argv++) {
		char *v = strchr(*argv, '=');
		size_t n = v ? (size_t)(v - *argv) : strlen(*argv);
		if (v)
			v++;
#define IS(s) (n == strlen(s) && !strncmp(*argv, s, n))
#define WORD(s, does) else if (IS(s)) does
		if (IS("env"))
			entries(v);
		WORD("ignore", ignore(mask(v)));
		WORD("block", block(mask(v)));
		WORD("pend", check(kill(getpid(), atoi(v)), *argv));
		WORD("pend-thread", check(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), atoi(v)), *argv));
		WORD("close", for (; *v; v++) close(*v - '0'));
		WORD("limit", limit(v));
		WORD("fds", many(atoi(v)));
		WORD("nice", check(setpriority(PRIO_PROCESS, 0, atoi(v)), *argv));
		WORD("schedule", schedule(v));
		WORD("affinity", check(syscall(SYS_sched_setaffinity, 0, sizeof(long), &(unsigned long){mask(v)}), *argv));
		WORD("ioprio", check(syscall(SYS_ioprio_set, 1, 0, atoi(v)), *argv));
		WORD("oom", put("/proc/self/oom_score_adj", v));
		WORD("coredump", put("/proc/self/coredump_filter", v));
		WORD("slack", check(prctl(PR_SET_TIMERSLACK, strtoul(v, NULL, 10)), *argv));
		WORD("umask", umask(strtoul(v, NULL, 8)));
		WORD("personality", check(personality(mask(v)), *argv));
		WORD("pdeathsig", check(prctl(PR_SET_PDEATHSIG, atoi(v)), *argv));
		WORD("setsid", check(setsid(), *argv));
		WORD("setpgid", check(setpgid(0, 0), *argv));
		WORD("subreaper", check(prctl(PR_SET_CHILD_SUBREAPER, 1), *argv));
		WORD("thp", check(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), *argv));
		WORD("undumpable", check(prctl(PR_SET_DUMPABLE, 0), *argv));
		WORD("timers", for (int i = 0; i < 3; i++) check(setitimer(i, &(struct itimerval){{5, 7}, {1000, 0}}, NULL), *argv));
		WORD("gone", gone());
		WORD("cd", check(chdir(v), v));
		WORD("lock", lock(v));
		WORD("keyring", check(syscall(SYS_keyctl, 1, "caplaunch-test"), *argv));
		WORD("children", children());
		WORD("orphan", orphan(v));
		WORD("unshare", check(unshare(mask(v)), *argv));
		else
			errno = EINVAL, check(-1, *argv);
	}
	if (!*argv || !*++argv)
		return 120;
	execve(*argv, argv, environ);
	check(-1, *argv);
	return 0;
}

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "which architecture is this?"
#endif

#define BASE 0x10000000

static struct sock_filter code[32];
static unsigned short len;

static void add(unsigned short op, unsigned k, unsigned char yes, unsigned char no) {
	code[len++] = (struct sock_filter){op, yes, no, k};
}

// must lets the call pass unless the word at offset is k.
static void must(size_t offset, unsigned k) {
	add(BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
	add(BPF_JMP | BPF_JEQ | BPF_K, k, 1, 0);
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

// The system call NUMBER, with these first arguments if they are given, fails with ERRNO, or for ERRNO 0 reports
// success and does nothing. That holds for every thread, but only for calls made by code below BASE, where caplaunch
// lies: a witness that is linked to above it, and what prepares the start, see an honest kernel. It needs SYS_ADMIN,
// because it leaves no_new_privs alone.
int deny(int argc, char **argv) {
	if (argc < 5 || strcmp(argv[3], "--"))
		return 120;
	// All machines that this runs on are little-endian: the low word comes first.
	must(offsetof(struct seccomp_data, arch), ARCH);
	must(offsetof(struct seccomp_data, instruction_pointer) + 4, 0);
	add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer), 0, 0);
	add(BPF_JMP | BPF_JGE | BPF_K, BASE, 0, 1);
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	size_t field = offsetof(struct seccomp_data, nr);
	for (char *word = strtok(argv[2], ","); word; word = strtok(NULL, ",")) {
		must(field, strtoul(word, NULL, 0));
		field = field == offsetof(struct seccomp_data, nr) ? offsetof(struct seccomp_data, args) : field + 8;
	}
	add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)atoi(argv[1]), 0, 0);
	struct sock_fprog program = {len, code};
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
	return run(argv + 4);
}

// Another process, without any capability, fills the queue. It has this one's user, or UID, and ends with PROGRAM.
int fill(int argc, char **argv) {
	int uid = -1, o, full[2], alive[2];
	while ((o = getopt(argc, argv, "+u:")) != -1)
		uid = atoi(optarg);
	// The program inherits one end of alive. A parent-death signal would not reach a process of another user.
	if (pipe(full) || pipe(alive) || optind >= argc)
		return 120;
	pid_t pid = fork();
	char c;
	if (!pid) {
		sigset_t all;
		close(alive[1]);
		if (uid >= 0)
			check(setresuid(uid, uid, uid), "setresuid");
		set((struct sets){0}, "capset");
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		union sigval v = {0};
		while (!sigqueue(getpid(), SIGRTMAX, v))
			;
		if (errno != EAGAIN || write(full[1], "x", 1) != 1)
			_exit(120);
		close(0), close(1), close(2); // whoever reads what the program says shall not wait for this process
		_exit(read(alive[0], &c, 1) != 0);
	}
	close(full[1]);
	close(alive[0]);
	if (pid < 0 || read(full[0], &c, 1) != 1)
		return 120;
	close(full[0]);
	return run(argv + optind);
}

int noargs(int argc, char **argv) {
	char *none[] = {NULL};
	if (argc == 2)
		execve(argv[1], none, environ);
	return 120;
}

static pthread_barrier_t done;

static void *other(void *who) {
	if (!strcmp(who, "main"))
		set((struct sets){0}, "capset");
	pthread_barrier_wait(&done);
	for (;;)
		pause();
	return NULL;
}

// A thread leaves what it has to the next one, and ends.
static void *hop(void *nothing) {
	pthread_t next;
	while (pthread_create(&next, NULL, hop, nothing))
		sched_yield();
	pthread_detach(next);
	return NULL;
}

static void *shortly(void *nothing) {
	usleep(20000);
	return nothing;
}

// The named threads keep their capabilities, the other drops them all. It prints "ready". Beside those that hop are
// others that come and go, without any.
int threads(int argc, char **argv) {
	pthread_t thread;
	pthread_barrier_init(&done, NULL, 2);
	int hops = argc > 1 && !strcmp(argv[1], "hop");
	if (argc < 2 || pthread_create(&thread, NULL, hops ? hop : other, argv[1]))
		return 120;
	if (hops || !strcmp(argv[1], "other"))
		set((struct sets){0}, "capset");
	if (!hops)
		pthread_barrier_wait(&done);
	puts("ready");
	fflush(stdout);
	while (hops) {
		check(-pthread_create(&thread, NULL, shortly, NULL), "thread");
		pthread_join(thread, NULL);
		usleep(20000);
	}
	for (;;)
		pause();
}

int main(int argc, char **argv) { return MAIN(argc, argv); }
