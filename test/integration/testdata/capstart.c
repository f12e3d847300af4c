// capstart puts itself into a starting state and executes a program from it:
//
//   capstart [OPTIONS] -- PROGRAM [ARG...]
//
//   -u ID | R,E,S    real, effective and saved uid           -p MASK  permitted     -s BITS  securebits
//   -g ID | R,E,S    the same for the gid                    -e MASK  effective     -k       keep_caps stays on
//   -G LIST | none   supplementary groups, ranges as LO-HI   -i MASK  inheritable   -n       no_new_privs
//   -I SIG  ignore, -M SIG  block a signal                   -b MASK  bounding      -C FD    close a descriptor
//   -R DIR  chroot, and cd to its /                          -a MASK  ambient
//
// Masks are hex. What is not given stays as the kernel leaves it. The state is that BEFORE execve, which then
// follows its own rules: a uid other than 0 keeps ambient only; uid 0 gets bounding|inheritable, unless
// securebits has noroot (1) or no_new_privs is set, which keeps permitted as it was. Exit status 120: the
// state could not be reached; 127: the program could not be executed.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PR_CAP_AMBIENT
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4

#endif

static void die(const char *what) {
	fprintf(stderr, "capstart: %s: %s\n", what, strerror(errno));
	_exit(120);
}

static void check(long r, const char *what) {
	if (r < 0)
		die(what);
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

static uint64_t mask(const char *s) {
	char *end;
	uint64_t v = strtoull(s, &end, 16);
	if (!*s || *end)
		errno = EINVAL, die(s);
	return v;
}

struct ids { int given; uint32_t r, e, s; };

static struct ids ids(const char *s) {
	struct ids v = {1, 0, 0, 0};
	int n = sscanf(s, "%u,%u,%u", &v.r, &v.e, &v.s);
	if (n == 1)
		v.e = v.s = v.r;
	else if (n != 3)
		errno = EINVAL, die(s);
	return v;
}

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

int main(int argc, char **argv) {
	struct ids u = {0}, g = {0};
	const char *G = NULL;
	char *has[128] = {0};
	sigset_t blocked;
	sigemptyset(&blocked);
	int o;
	while ((o = getopt(argc, argv, "+u:g:G:p:i:e:b:a:s:knI:M:C:R:")) != -1) {
		switch (o) {
		case 'u': u = ids(optarg); break;
		case 'g': g = ids(optarg); break;
		case 'G': G = optarg; break;
		case 'k': case 'n': has[o] = ""; break;
		case 'I': signal(atoi(optarg), SIG_IGN); break;
		case 'M': sigaddset(&blocked, atoi(optarg)); break;
		case 'C': close(atoi(optarg)); break;
		case '?': return 120;
		default: has[o] = optarg;
		}
	}
	if (optind >= argc) {
		fprintf(stderr, "capstart: no program\n");
		return 120;
	}

	if (has['R']) {
		check(chroot(has['R']), "chroot");
		check(chdir("/"), "chdir");
	}
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
	if (G)
		groups(G);
	if (g.given)
		check(setresgid(g.r, g.e, g.s), "setresgid");
	if (u.given) {
		check(prctl(PR_SET_KEEPCAPS, 1), "keepcaps");
		check(setresuid(u.r, u.e, u.s), "setresuid");
		now.e = now.p; // an effective uid that is not 0 has cleared effective
		set(now, "effective after setresuid");
	}
	uint64_t a = has['a'] ? mask(has['a']) : 0;
	if (has['a'])
		check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clear ambient");
	for (int c = 0; c < 64; c++)
		if (a >> c & 1)
			check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0), "raise ambient");
	check(prctl(PR_SET_KEEPCAPS, has['k'] != NULL), "keepcaps");
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

	execvp(argv[optind], argv + optind);
	fprintf(stderr, "capstart: %s: %s\n", argv[optind], strerror(errno));
	return 127;
}
