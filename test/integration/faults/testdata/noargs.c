// noargs executes PROGRAM with no arguments at all, not even a name.
#define _GNU_SOURCE
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
	char *none[] = {NULL};
	if (argc == 2)
		execve(argv[1], none, environ);
	perror("noargs PROGRAM");
	return 120;
}
