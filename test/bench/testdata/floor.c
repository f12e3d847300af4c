// The least that a launch can cost: the system calls that change credentials, and execve, without a libc. Compiled
// with -DNOTHING it does nothing, which is what every launcher under measurement launches.
//
//   floor UID GID CAPS PROGRAM [ARG...]     CAPS in hex; the only supplementary group is GID
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/prctl.h>

typedef unsigned long word;

static word call(word nr, word a, word b, word c, word d) {
#if defined(__x86_64__)
	register word r10 __asm__("r10") = d, r8 __asm__("r8") = 0;
	__asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
	return nr;
#elif defined(__aarch64__)
	register word x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
#else
#error "written for amd64 and arm64"
#endif
}

static word failed;
#define DO(nr, a, b, c, d) (failed |= call(nr, (word)(a), (word)(b), (word)(c), (word)(d)))

static word number(const char *s, int base) {
	word n = 0;
	for (; *s; s++)
		n = n * base + (*s <= '9' ? *s - '0' : *s - 'a' + 10);
	return n;
}

__attribute__((noreturn, used)) static void start(word *stack) {
	word argc = *stack;
	char **argv = (char **)(stack + 1), **env = argv + argc + 1;
#ifndef NOTHING
	failed = 125;
	if (argc > 4) {
		failed = 0;
		word uid = number(argv[1], 10), caps = number(argv[3], 16);
		unsigned gid = number(argv[2], 10);
		DO(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0);
		DO(__NR_setgroups, 1, &gid, 0, 0);
		DO(__NR_setresgid, gid, gid, gid, 0);
		DO(__NR_setresuid, uid, uid, uid, 0);
		struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
		struct __user_cap_data_struct d[2] = {{caps, caps, caps}, {caps >> 32, caps >> 32, caps >> 32}};
		DO(__NR_capset, &h, d, 0, 0);
		DO(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0);
		for (int c = 0; c < 64; c++)
			if (caps >> c & 1)
				DO(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0);
		DO(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0);
		if (!failed)
			call(__NR_execve, (word)argv[4], (word)(argv + 4), (word)env, 0);
		failed = 125;
	}
#endif
	call(__NR_exit, failed, 0, 0, 0);
	__builtin_unreachable();
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start: mov x0, sp\n bl start\n");
#endif
