// service is a program for systemd to start. It does one thing and says how it went:
//
//   service pipe          writes to a pipe that nobody reads: "EPIPE", or death by SIGPIPE
//   service listen        answers one connection on each socket of LISTEN_FDS with who it is
//   service notify N      READY=1, then N signs of life to the watchdog, then none
//   service once FILE     fails when FILE is not there, and makes it
//   service signal N      waits for signal N: "got N"
//   service credential X  prints $CREDENTIALS_DIRECTORY/X
//   service who           uid, ambient capabilities, no_new_privs
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void who(int fd) {
	unsigned long ambient = 0;
	for (int c = 0; c < 64; c++)
		ambient |= (unsigned long)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0) == 1) << c;
	dprintf(fd, "uid %d gid %d ambient %lx no_new_privs %d\n", getuid(), getgid(), ambient, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

static const char *variable(const char *name) { return getenv(name) ? getenv(name) : "unset"; }

// is tells whether a variable holds the number of this process.
static const char *is(const char *name) { return atoi(variable(name)) == getpid() ? "self" : "another"; }

static void tell(const char *state) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *path = variable("NOTIFY_SOCKET");
	strncpy(a.sun_path, path, sizeof a.sun_path - 1);
	if (*path == '@')
		a.sun_path[0] = 0;
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sendto(s, state, strlen(state), 0, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + strlen(path)) < 0)
		printf("%s: %s\n", state, strerrorname_np(errno));
	close(s);
}

static int writes(void) {
	int p[2];
	if (pipe(p))
		return 2;
	close(p[0]);
	puts(write(p[1], "x", 1) < 0 ? strerrorname_np(errno) : "written");
	return 0;
}

static int listens(void) {
	int n = atoi(variable("LISTEN_FDS"));
	for (int fd = 3; fd < 3 + n; fd++) {
		int c = accept(fd, NULL, NULL);
		dprintf(c, "sockets %d names %s pid %s ", n, variable("LISTEN_FDNAMES"), is("LISTEN_PID"));
		who(c);
		close(c);
	}
	return n ? 0 : 2;
}

static void notifies(int n) {
	tell("READY=1\nSTATUS=ready indeed");
	printf("watchdog %s\n", is("WATCHDOG_PID"));
	for (; n > 0; n--) {
		usleep(100000);
		tell("WATCHDOG=1");
	}
	for (;;)
		pause();
}

static int once(const char *file) {
	if (!access(file, F_OK)) {
		puts("second");
		for (;;)
			pause();
	}
	puts("first");
	close(open(file, O_CREAT | O_WRONLY, 0600));
	return 1;
}

static int waits(int signal) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, signal);
	sigprocmask(SIG_BLOCK, &set, NULL);
	puts("ready");
	printf("got %d\n", sigwaitinfo(&set, NULL));
	return 0;
}

static int credential(const char *name) {
	char path[4096], text[64] = "";
	snprintf(path, sizeof path, "%s/%s", variable("CREDENTIALS_DIRECTORY"), name);
	int fd = open(path, O_RDONLY);
	puts(fd < 0 || read(fd, text, sizeof text - 1) < 0 ? strerrorname_np(errno) : text);
	return 0;
}

int main(int argc, char **argv) {
	setbuf(stdout, NULL);
	const char *mode = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "";
#define IS(s) (!strcmp(mode, s))
	if (IS("pipe"))
		return writes();
	if (IS("listen"))
		return listens();
	if (IS("notify"))
		notifies(atoi(arg));
	if (IS("once"))
		return once(arg);
	if (IS("signal"))
		return waits(atoi(arg));
	if (IS("credential"))
		return credential(arg);
	if (IS("who"))
		who(1);
	return 0;
}
