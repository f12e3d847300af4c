// The kernel's side of the oracle. "executor serve" reads sequences from
// stdin; for each it forks a child that takes up the starting state, makes the
// system calls one by one, reads its credentials back after each, and becomes
// the program at the end. That program is a copy of this file: called in any
// other way it says what its credentials are, and exits.
//
// All of it is written to stdout as in wire.go, little-endian. There is no
// /proc in it and nothing that could know the model.
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAXGROUPS = 65536 };

// capset(2) and prctl(2), for a libc that comes without the kernel's headers.
struct cap_header { uint32_t version; int pid; };
struct cap_data { uint32_t effective, permitted, inheritable; };
#define CAP_VERSION_3 0x20080522
#define NO_SETUID_FIXUP (1 << 2)

struct state {
	uint64_t permitted, inheritable, effective, bounding, ambient;
	uint32_t securebits, nnp, uid[3], gid[3], ngroups, pad;
};

// Kinds of records, see wire.go.
enum { STARTED = 1, STEPPED, REFUSED, BECAME, UNREADY, ENDED };

struct record {
	uint32_t kind, err;
	struct state s;
};

static uint32_t groups[MAXGROUPS];

// out is written in one go, at the latest before the exec: fewer switches.
static char out[4096 + sizeof(struct record) + sizeof groups];
static size_t used;

static void flush(void) {
	for (size_t done = 0; done < used;) {
		ssize_t n = write(1, out + done, used - done);
		if (n < 0 && errno != EINTR)
			_exit(3);
		if (n > 0)
			done += n;
	}
	used = 0;
}

static int capget_(uint64_t *p, uint64_t *i, uint64_t *e) {
	struct cap_header h = {CAP_VERSION_3, 0};
	struct cap_data d[2];
	if (syscall(SYS_capget, &h, d))
		return -1;
	*p = d[0].permitted | (uint64_t)d[1].permitted << 32;
	*i = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
	*e = d[0].effective | (uint64_t)d[1].effective << 32;
	return 0;
}

static int capset_(uint64_t p, uint64_t i, uint64_t e) {
	struct cap_header h = {CAP_VERSION_3, 0};
	struct cap_data d[2] = {{e, p, i}, {e >> 32, p >> 32, i >> 32}};
	return syscall(SYS_capset, &h, d);
}

// look reads the credentials of this process into s and groups.
static int look(struct state *s) {
	memset(s, 0, sizeof *s);
	if (capget_(&s->permitted, &s->inheritable, &s->effective) ||
	    syscall(SYS_getresuid, &s->uid[0], &s->uid[1], &s->uid[2]) ||
	    syscall(SYS_getresgid, &s->gid[0], &s->gid[1], &s->gid[2]))
		return -1;
	for (int c = 0; c < 64; c++) {
		int b = prctl(PR_CAPBSET_READ, c);
		if (b < 0)
			break;
		s->bounding |= (uint64_t)b << c;
		int a = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0);
		if (a < 0)
			return -1;
		s->ambient |= (uint64_t)a << c;
	}
	int bits = prctl(PR_GET_SECUREBITS), nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	int n = syscall(SYS_getgroups, MAXGROUPS, groups);
	if (bits < 0 || nnp < 0 || n < 0)
		return -1;
	s->securebits = bits, s->nnp = nnp, s->ngroups = n;
	return 0;
}

static void put(const void *p, size_t n) {
	memcpy(out + used, p, n);
	used += n;
}

// say writes a record with the present credentials.
static void say(uint32_t kind, uint32_t err) {
	struct record r = {kind, err, {0}};
	if (look(&r.s)) {
		r.kind = UNREADY;
		r.err = errno;
	}
	if (used + sizeof r + r.s.ngroups * 4 > sizeof out)
		flush();
	put(&r, sizeof r);
	put(groups, r.s.ngroups * 4);
}

static void fail(int where) {
	struct record r = {UNREADY, errno, {0}};
	r.s.pad = where;
	put(&r, sizeof r);
	flush();
	_exit(1);
}

static int same_groups(const uint32_t *g, uint32_t n) {
	int have = syscall(SYS_getgroups, MAXGROUPS, groups);
	return have == (int)n && !memcmp(groups, g, n * 4); // the kernel sorts, and so does wire.go
}

// start takes up a state, with the powers of the user namespace's root. The
// uid is changed under no_setuid_fixup, which spares the capabilities; then
// everything that only root may, and the sets last.
static void start(const struct state *want, const uint32_t *g) {
	uint64_t p, i, e;
	if (capget_(&p, &i, &e))
		fail(1);
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		fail(2);
	if (prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP))
		fail(3);
	if (!same_groups(g, want->ngroups) && syscall(SYS_setgroups, want->ngroups, g))
		fail(4);
	if (syscall(SYS_setresgid, want->gid[0], want->gid[1], want->gid[2]))
		fail(5);
	if (syscall(SYS_setresuid, want->uid[0], want->uid[1], want->uid[2]))
		fail(6);
	if (capset_(p, want->inheritable, p))
		fail(7);
	for (int c = 0; c < 64; c++)
		if (want->ambient >> c & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0))
			fail(8);
	for (int c = 0; c < 64 && prctl(PR_CAPBSET_READ, c) >= 0; c++)
		if (!(want->bounding >> c & 1) && prctl(PR_CAPBSET_READ, c) && prctl(PR_CAPBSET_DROP, c))
			fail(9);
	if (prctl(PR_SET_SECUREBITS, want->securebits))
		fail(10);
	if (capset_(want->permitted, want->inheritable, want->effective))
		fail(11);
	if (want->nnp && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail(12);
}

// Operations, in the order of wire.go.
enum { CAPSET = 1, RAISE, DROP, KEEPCAPS, SETGROUPS, SETRESGID, SETRESUID, NNP };

static int step(uint32_t op, uint32_t n, const uint32_t *a) {
	switch (op) {
	case CAPSET:
		return capset_(a[0] | (uint64_t)a[1] << 32, a[2] | (uint64_t)a[3] << 32, a[4] | (uint64_t)a[5] << 32);
	case RAISE:
		return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, a[0], 0, 0);
	case DROP:
		return prctl(PR_CAPBSET_DROP, a[0], 0, 0, 0);
	case KEEPCAPS:
		return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
	case SETGROUPS:
		return syscall(SYS_setgroups, n, a);
	case SETRESGID:
		return syscall(SYS_setresgid, a[0], a[1], a[2]);
	case SETRESUID:
		return syscall(SYS_setresuid, a[0], a[1], a[2]);
	case NNP:
		return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	}
	_exit(4);
}

// run is the child's life. The words are the sequence: a state and its groups,
// the number of steps, each with its operation and arguments, the path.
static void run(const uint32_t *w) {
	struct state want;
	memcpy(&want, w, sizeof want);
	w += sizeof want / 4;
	start(&want, w);
	w += want.ngroups;
	say(STARTED, 0);
	for (uint32_t steps = *w++; steps; steps--) {
		uint32_t op = w[0], n = w[1];
		int err = step(op, n, w + 2) ? errno : 0;
		say(STEPPED, err);
		w += 2 + n;
	}
	flush();
	char *path = (char *)w, *argv[] = {path, NULL}, *envp[] = {NULL};
	execve(path, argv, envp);
	say(REFUSED, errno);
	flush();
	_exit(0);
}

static int full_read(void *p, size_t n) {
	for (size_t done = 0; done < n;) {
		ssize_t got = read(0, (char *)p + done, n - done);
		if (got == 0 && done == 0)
			return 0;
		if (got <= 0)
			_exit(5);
		done += got;
	}
	return 1;
}

static void serve(void) {
	static uint32_t buf[1 << 20];
	uint32_t size;
	while (full_read(&size, sizeof size)) {
		if (size > sizeof buf || !full_read(buf, size))
			_exit(6);
		int status;
		pid_t pid = fork();
		if (pid < 0)
			_exit(7);
		if (pid == 0)
			run(buf);
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				_exit(8);
		struct record r = {ENDED, status, {0}};
		put(&r, sizeof r);
		flush();
	}
}

int main(int argc, char **argv) {
	if (argc == 2 && !strcmp(argv[1], "serve")) {
		serve();
		return 0;
	}
	say(BECAME, 0);
	flush();
	return 0;
}
