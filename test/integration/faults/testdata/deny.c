// deny executes a program behind a seccomp filter:
//
//   deny ERRNO NUMBER[,ARG0[,ARG1]] -- PROGRAM [ARG...]
//
// The system call NUMBER, with these first arguments if they are given, fails with ERRNO, or for ERRNO 0 reports
// success and does nothing. That holds for every thread, but only for calls made by code below BASE, where caplaunch
// lies: a witness that is linked to above it, and what prepares the start, see an honest kernel. It needs SYS_ADMIN,
// because it leaves no_new_privs alone.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#error "which architecture is this?"
#endif

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

int main(int argc, char **argv) {
	if (argc < 5 || strcmp(argv[3], "--")) {
		fprintf(stderr, "deny ERRNO NUMBER[,ARG0[,ARG1]] -- PROGRAM [ARG...]\n");
		return 120;
	}
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
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("deny: seccomp");
		return 120;
	}
	execvp(argv[4], argv + 4);
	perror(argv[4]);
	return 120;
}
