// userns executes a program in a new user namespace:
//
//   userns [OPTIONS] -- PROGRAM [ARG...]
//
//   -u R,E,S  -g R,E,S  -G LIST | none   ids and groups outside, before the namespace is made
//   -m MAP  -n MAP                       uid_map and gid_map, entries "INSIDE OUTSIDE COUNT" split at commas
//   -d                                   setgroups is denied in it
//   -k                                   all capabilities of the namespace are kept, as ambient ones
//   -R DIR                               chroot
//
// An id that no map has is left unmapped, as the ids of whoever enters a namespace from outside are.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(long r, const char *what) {
	if (r < 0) {
		fprintf(stderr, "userns: %s: %s\n", what, strerror(errno));
		_exit(120);
	}
}

static void put(pid_t pid, const char *file, char *text) {
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	for (char *c = text; *c; c++)
		if (*c == ',')
			*c = '\n';
	int fd = open(path, O_WRONLY);
	check(fd, path);
	check(write(fd, text, strlen(text)), path);
	close(fd);
}

int main(int argc, char **argv) {
	char *has[128] = {0};
	int o, ready[2], go[2];
	while ((o = getopt(argc, argv, "+u:g:G:m:n:dkR:")) != -1)
		has[o] = optarg ? optarg : "";
	check(pipe2(ready, O_CLOEXEC), "pipe");
	check(pipe2(go, O_CLOEXEC), "pipe");
	// The child writes the maps, from outside: whoever started this process waits for it, and no other.
	pid_t self = getpid(), writer = fork();
	check(writer, "fork");
	if (!writer) {
		char c;
		close(ready[1]);
		if (read(ready[0], &c, 1) != 1)
			_exit(120);
		if (has['d'])
			put(self, "setgroups", strdup("deny"));
		if (has['m'])
			put(self, "uid_map", has['m']);
		if (has['n'])
			put(self, "gid_map", has['n']);
		_exit(0);
	}
	unsigned r, e, s;
	if (has['G']) {
		gid_t list[64];
		int n = 0;
		for (char *w = strtok(has['G'], ","); w && strcmp(w, "none"); w = strtok(NULL, ","))
			list[n++] = atoi(w);
		check(setgroups(n, list), "setgroups");
	}
	if (has['g'] && sscanf(has['g'], "%u,%u,%u", &r, &e, &s) == 3)
		check(setresgid(r, e, s), "setresgid");
	prctl(PR_SET_KEEPCAPS, 1);
	if (has['u'] && sscanf(has['u'], "%u,%u,%u", &r, &e, &s) == 3)
		check(setresuid(r, e, s), "setresuid");
	check(unshare(CLONE_NEWUSER), "unshare");
	check(write(ready[1], "x", 1), "pipe");
	int status;
	check(waitpid(writer, &status, 0), "wait");
	if (status)
		return 120;
	if (has['R']) {
		check(chroot(has['R']), "chroot");
		check(chdir("/"), "chdir");
	}
	if (has['k']) {
		struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct d[2];
		check(syscall(SYS_capget, &h, d), "capget");
		d[0].inheritable = d[0].permitted;
		d[1].inheritable = d[1].permitted;
		check(syscall(SYS_capset, &h, d), "capset");
		for (int c = 0; c < 64; c++)
			if (d[c / 32].permitted >> c % 32 & 1)
				check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0), "ambient");
	}
	execvp(argv[optind], argv + optind);
	check(-1, argv[optind]);
}
