// One helper, three roles: what starts a launcher, the launcher to compare with, and the probe.
//   helper set IGNORED BLOCKED CLOSED ENVIRON PROGRAM [ARG...]   masks in hex; CLOSED: digits; ENVIRON: file of NUL-ended entries, or -
//   helper exec SIGNALS PROGRAM [ARG...]                         a launcher in C that changes nothing
//   helper probe FILE [ARG...]                                   writes all that it inherited to FILE
// Raw calls, because glibc hides signals 32 and 33.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

struct action { uint64_t handler, flags, restorer, mask; };

static int fail(const char *what) {
	perror(what);
	return 99;
}

static char **entries(const char *path) {
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st)) exit(fail(path));
	char *text = malloc(st.st_size + 1), **env = malloc((st.st_size + 1) * sizeof *env);
	if (read(fd, text, st.st_size) != st.st_size) exit(fail(path));
	close(fd);
	int n = 0;
	for (char *p = text; p < text + st.st_size; p += strlen(p) + 1) env[n++] = p;
	env[n] = NULL;
	return env;
}

static int set(char **argv) {
	uint64_t ignored = strtoull(argv[0], NULL, 16), blocked = strtoull(argv[1], NULL, 16);
	if (strcmp(argv[3], "-")) environ = entries(argv[3]);
	for (int s = 1; s <= 64; s++) {
		struct action a = { ignored >> (s - 1) & 1 };
		if (s != 9 && s != 19 && syscall(SYS_rt_sigaction, s, &a, NULL, 8)) return fail("rt_sigaction");
	}
	if (syscall(SYS_rt_sigprocmask, 2, &blocked, NULL, 8)) return fail("rt_sigprocmask");
	for (char *p = argv[2]; *p; p++) close(*p - '0');
	execve(argv[4], argv + 4, environ);
	return fail(argv[4]);
}

static int probe(char **argv) {
	enum { fds = 32 };
	int flags[fds], status[fds];
	for (int fd = 0; fd < fds; fd++) {
		flags[fd] = fcntl(fd, F_GETFD);
		status[fd] = flags[fd] < 0 ? -1 : fcntl(fd, F_GETFL);
	}
	FILE *f = fopen(argv[0], "we");
	if (!f) return fail(argv[0]);
	uint64_t ignored = 0, handled = 0, mask = 0, pending = 0;
	for (int s = 1; s <= 64; s++) {
		struct action a = { 0 };
		if (syscall(SYS_rt_sigaction, s, NULL, &a, 8)) return fail("rt_sigaction");
		if (a.handler == 1) ignored |= 1ull << (s - 1);
		else if (a.handler) handled |= 1ull << (s - 1);
	}
	if (syscall(SYS_rt_sigprocmask, 0, NULL, &mask, 8)) return fail("rt_sigprocmask");
	if (syscall(SYS_rt_sigpending, &pending, 8)) return fail("rt_sigpending");
	fprintf(f, "ignored %016lx\nhandled %016lx\nblocked %016lx\npending %016lx\n", ignored, handled, mask, pending);
	for (int fd = 0; fd < fds; fd++)
		if (flags[fd] >= 0) fprintf(f, "fd %d: %x %x\n", fd, flags[fd], status[fd]);
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files)) return fail("getrlimit");
	fprintf(f, "nofile %lu %lu\n", files.rlim_cur, files.rlim_max);
	for (char **p = argv + 1; *p; p++) fprintf(f, "arg <%s>\n", *p);
	for (char **p = environ; *p; p++) fprintf(f, "env <%s>\n", *p);
	return fclose(f) ? fail(argv[0]) : 0;
}

int main(int argc, char **argv) {
	if (argc >= 7 && !strcmp(argv[1], "set")) return set(argv + 2);
	if (argc >= 4 && !strcmp(argv[1], "exec")) {
		execve(argv[3], argv + 3, environ);
		return fail(argv[3]);
	}
	if (argc >= 3 && !strcmp(argv[1], "probe")) return probe(argv + 2);
	fprintf(stderr, "helper: usage\n");
	return 98;
}
