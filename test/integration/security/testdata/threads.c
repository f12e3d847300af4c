// threads waits with another thread that has other capabilities than the main one:
//
//   threads main|other|both
//
// The named ones keep their capabilities, the other drops them all. It prints "ready".
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void drop(void) {
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct none[2] = {{0}};
	if (syscall(SYS_capset, &h, none))
		_exit(120);
}

static pthread_barrier_t done;

static void *other(void *who) {
	if (!strcmp(who, "main"))
		drop();
	pthread_barrier_wait(&done);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv) {
	pthread_t thread;
	pthread_barrier_init(&done, NULL, 2);
	if (argc < 2 || pthread_create(&thread, NULL, other, argv[1]))
		return 120;
	if (!strcmp(argv[1], "other"))
		drop();
	pthread_barrier_wait(&done);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
