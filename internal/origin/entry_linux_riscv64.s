#include "go_asm.h"
#include "textflag.h"

#define SYS_fstat		80
#define SYS_rt_sigaction	134
#define SYS_rt_sigprocmask	135
#define SYS_write		64
#define SYS_timer_create	107
#define SYS_timer_settime	110
#define SYS_fcntl		25
#define SYS_munmap		215
#define SYS_mmap		222
#define SYS_exit_group		94

// See entry_linux_amd64.s, which says what and why. X2 is SP. ECALL overwrites A0 only.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	MOV	X2, S2
	MOV	$·initialStack(SB), T0
	MOV	S2, (T0)
	MOV	$·received(SB), S3
	MOV	$-1, S4

	// rt_sigaction(signal, NULL, &action[signal-1], 8)
	ADD	$answers_action, S3, S5
	ADD	$answers_actionResult, S3, S6
	MOV	$1, S7
	MOV	$65, S8
signal:
	MOV	S4, (S5)	// noHandler
	MOV	S7, A0
	MOV	$0, A1
	MOV	S5, A2
	MOV	$8, A3
	MOV	$SYS_rt_sigaction, A7
	ECALL
	MOV	A0, (S6)
	ADD	$const_sigactionSize, S5
	ADD	$8, S6
	ADD	$1, S7
	BNE	S7, S8, signal

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	ADD	$answers_mask, S3, A2
	MOV	S4, (A2)	// noMask
	MOV	$0, A0
	MOV	$0, A1
	MOV	$8, A3
	MOV	$SYS_rt_sigprocmask, A7
	ECALL
	ADD	$answers_maskResult, S3, T0
	MOV	A0, (T0)

	// fstat(fd, &file[fd])
	ADD	$answers_file, S3, S5
	ADD	$answers_fileResult, S3, S6
	MOV	$0, S7
	MOV	$3, S8
descriptor:
	MOV	S4, (S5)	// noDevice
	MOV	S7, A0
	MOV	S5, A1
	MOV	$SYS_fstat, A7
	ECALL
	MOV	A0, (S6)
	ADD	$const_statSize, S5
	ADD	$8, S6
	ADD	$1, S7
	BNE	S7, S8, descriptor

	// fcntl(fd, F_GETFD), from 3 on until one is not open
open:
	MOV	S7, A0
	MOV	$const_getFD, A1
	MOV	$0, A2
	MOV	$SYS_fcntl, A7
	ECALL
	BGEZ	A0, taken
	ADD	$const_badFD, A0, T0
	BEQZ	T0, free
	JMP	die<>(SB)	// the runtime asks the same and would give up
taken:
	ADD	$1, S7
	MOV	$const_mostFDs, T0
	BLT	S7, T0, open
free:
	ADD	$answers_free, S3, T0
	MOV	S7, (T0)
	ADD	$answers_freeResult, S3, T0
	MOV	A0, (T0)

	// rt_sigaction(signal, &action, NULL, 8) for each of deadly
	MOV	$·deadly(SB), S5
	MOV	$const_deadlyCount, S7
handler:
	MOV	(S5), A0
	MOV	$action<>(SB), A1
	MOV	$0, A2
	MOV	$8, A3
	MOV	$SYS_rt_sigaction, A7
	ECALL
	ADD	$8, S5
	ADD	$-1, S7
	BNEZ	S7, handler
	BGEZ	A0, handlers	// who forbids this has forbidden the runtime to start
	JMP	die<>(SB)
handlers:

	// timer_create(CLOCK_MONOTONIC, &expiry, &timer), timer_settime(timer, 0, &deadline, NULL)
	MOV	$const_clockMonotonic, A0
	MOV	$·expiry(SB), A1
	MOV	$·timer(SB), A2
	MOV	$SYS_timer_create, A7
	ECALL
	MOVW	·timer(SB), A0
	MOV	$0, A1
	MOV	$·deadline(SB), A2
	MOV	$0, A3
	MOV	$SYS_timer_settime, A7
	ECALL

	// mmap(NULL, room, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0), munmap(it, room)
	MOV	$0, A0
	MOV	$const_room, A1
	MOV	$0, A2
	MOV	$const_reserved, A3
	MOV	S4, A4
	MOV	$0, A5
	MOV	$SYS_mmap, A7
	ECALL
	BGTZ	A0, roomy
	JMP	die<>(SB)
roomy:
	MOV	$SYS_munmap, A7
	ECALL

	// S2: the block. A1: its envp. A2: its end, behind the pair of auxv that begins with 0.
	MOV	(S2), T0
	SLL	$3, T0
	ADD	S2, T0, A1
	ADD	$16, A1
	MOV	A1, A2
environment:
	MOV	(A2), T0
	ADD	$8, A2
	BNEZ	T0, environment
auxiliary:
	MOV	(A2), T0
	ADD	$16, A2
	BNEZ	T0, auxiliary

	// Room for the copy. execve(2) limits the block and its strings to a quarter of the stack.
	SUB	S2, A2, A3
	SUB	A3, S2, A3
	ADD	$-(const_settingsCount*8), A3
	AND	$-16, A3
	MOV	A3, X2

arguments:	// argc, argv, NULL
	MOV	(S2), T0
	MOV	T0, (A3)
	ADD	$8, S2
	ADD	$8, A3
	BNE	S2, A1, arguments
	MOV	$·settings(SB), A4
	MOV	$const_settingsCount, A5
setting:
	MOV	(A4), T0	// of a string, the pointer
	MOV	T0, (A3)
	ADD	$16, A4
	ADD	$8, A3
	ADD	$-1, A5
	BNEZ	A5, setting
rest:	// envp, NULL, auxv
	MOV	(S2), T0
	MOV	T0, (A3)
	ADD	$8, S2
	ADD	$8, A3
	BNE	S2, A2, rest

	JMP	_rt0_riscv64_linux(SB)

// Of this architecture's struct, the mask follows the flags: it has no restorer.
DATA action<>+0(SB)/8, $die<>(SB)
DATA action<>+8(SB)/8, $0x08000000
DATA action<>+16(SB)/8, $0
GLOBL action<>(SB), RODATA, $24

TEXT die<>(SB),NOSPLIT|NOFRAME,$0
	MOV	·lastWords(SB), T0
	MOV	$2, A0
	MOV	0(T0), A1
	MOV	8(T0), A2
	MOV	$SYS_write, A7
	ECALL
	MOV	$const_lastStatus, A0
	MOV	$SYS_exit_group, A7
	ECALL
	UNDEF
