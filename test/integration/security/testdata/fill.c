// fill executes a program while another process, without any capability, fills the queue of signals of a user:
//
//   fill [-u UID] -- PROGRAM [ARG...]
//
// The other process has this one's user, or UID, and ends with PROGRAM. It prints nothing. Exit status 120: the queue
// could not be filled.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
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
		struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct none[2] = {{0}};
		close(alive[1]);
		if (uid >= 0 && setresuid(uid, uid, uid))
			_exit(120);
		if (syscall(SYS_capset, &h, none))
			_exit(120);
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
	execv(argv[optind], argv + optind);
	perror(argv[optind]);
	return 120;
}
