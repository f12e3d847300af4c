// claunch is what caplaunch is compared with: the same launch, written in C, without a runtime.
//
//   claunch UID GID CAPS PROGRAM [ARG...]     CAPS in hex; the only supplementary group is GID
//
// What it asks the kernel for is caplaunch's order of calls, and so are the variables that it removes and sets.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

static void check(long r, const char *what) {
	if (r < 0) {
		fprintf(stderr, "claunch: %s: %s\n", what, strerror(errno));
		_exit(125);
	}
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
	char **own = calloc(n + 2, sizeof *own), **to = own;
	for (char **from = environ; *from; from++)
		if (!is(*from, "CAPLAUNCH_QUIET"))
			*to++ = *from;
	environ = own;
	if (switched) {
		replace("HOME", "HOME=/", "/root");
		replace("USER", NULL, "root");
		replace("LOGNAME", NULL, "root");
	}
}

int main(int argc, char **argv) {
	if (argc < 5)
		return 125;
	uid_t uid = strtoul(argv[1], NULL, 10), now = getuid();
	gid_t gid = strtoul(argv[2], NULL, 10);
	uint64_t caps = strtoull(argv[3], NULL, 16);
	int switched = uid != now || gid != getgid(), death = 0;

	check(prctl(PR_GET_PDEATHSIG, &death), "PR_GET_PDEATHSIG");
	if (switched) {
		check(prctl(PR_SET_KEEPCAPS, 1), "PR_SET_KEEPCAPS");
		check(setgroups(1, &gid), "setgroups");
		check(setresgid(gid, gid, gid), "setresgid");
		check(setresuid(uid, uid, uid), "setresuid");
	}
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{caps, caps, caps}, {caps >> 32, caps >> 32, caps >> 32}};
	check(syscall(SYS_capset, &h, d), "capset");
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "PR_CAP_AMBIENT_CLEAR_ALL");
	for (int c = 0; c < 64; c++)
		if (caps >> c & 1)
			check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0), "PR_CAP_AMBIENT_RAISE");
	if (switched)
		check(prctl(PR_SET_KEEPCAPS, 0), "PR_SET_KEEPCAPS");
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	if (death)
		check(prctl(PR_SET_PDEATHSIG, death), "PR_SET_PDEATHSIG");
	environment(switched);
	execv(argv[4], argv + 4);
	check(-1, argv[4]);
}
