// The program at the end of each sequence. It says in numbers what credentials it has, as nothing but system calls tell:
// the sets permitted, inheritable, effective, bounding and ambient, securebits, no_new_privs, three uids, three gids, groups.
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAXGROUPS = 65536 };

static uint32_t groups[MAXGROUPS];

int main(void) {
	struct { uint32_t version; int pid; } head = {0x20080522, 0}; // capget(2), for a libc that comes without the kernel's headers
	struct { uint32_t effective, permitted, inheritable; } sets[2];
	uint32_t uid[3], gid[3];
	uint64_t bounding = 0, ambient = 0;
	if (syscall(SYS_capget, &head, sets) || syscall(SYS_getresuid, &uid[0], &uid[1], &uid[2]) || syscall(SYS_getresgid, &gid[0], &gid[1], &gid[2]))
		return 1;
	for (int c = 0, b; c < 64 && (b = prctl(PR_CAPBSET_READ, c)) >= 0; c++) {
		int a = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, c, 0, 0);
		if (a < 0)
			return 1;
		bounding |= (uint64_t)b << c;
		ambient |= (uint64_t)a << c;
	}
	int bits = prctl(PR_GET_SECUREBITS), nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), n = syscall(SYS_getgroups, MAXGROUPS, groups);
	if (bits < 0 || nnp < 0 || n < 0)
		return 1;
	uint64_t all[] = {
		sets[0].permitted | (uint64_t)sets[1].permitted << 32, sets[0].inheritable | (uint64_t)sets[1].inheritable << 32,
		sets[0].effective | (uint64_t)sets[1].effective << 32, bounding, ambient, bits, nnp, uid[0], uid[1], uid[2], gid[0], gid[1], gid[2],
	};
	for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
		printf("%llu ", (unsigned long long)all[i]);
	for (int i = 0; i < n; i++)
		printf("%u ", groups[i]);
	return 0;
}
