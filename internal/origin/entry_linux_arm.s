#include "go_asm.h"
#include "textflag.h"

#define SYS_munmap		91
#define SYS_rt_sigaction	174
#define SYS_rt_sigprocmask	175
#define SYS_mmap2		192
#define SYS_fstat64		197
#define SYS_write		4
#define SYS_timer_create	257
#define SYS_timer_settime	258
#define SYS_fcntl64		221
#define SYS_exit_group		248

// See entry_linux_amd64.s, which says what and why. SWI overwrites R0 only.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVW	R13, R9
	MOVW	$·initialStack(SB), R0
	MOVW	R9, (R0)
	MOVW	$-1, R8

	// rt_sigaction(signal, NULL, &action[signal-1], 8)
	MOVW	$·received+answers_action(SB), R4
	MOVW	$·received+answers_actionResult(SB), R5
	MOVW	$1, R6
signal:
	MOVW	R8, (R4)	// noHandler
	MOVW	R6, R0
	MOVW	$0, R1
	MOVW	R4, R2
	MOVW	$8, R3
	MOVW	$SYS_rt_sigaction, R7
	SWI	$0
	MOVW.P	R0, 4(R5)
	ADD	$const_sigactionSize, R4
	ADD	$1, R6
	CMP	$64, R6
	BLE	signal

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	MOVW	$·received+answers_mask(SB), R2
	MOVW	R8, 0(R2)	// noMask
	MOVW	R8, 4(R2)
	MOVW	$0, R0
	MOVW	$0, R1
	MOVW	$8, R3
	MOVW	$SYS_rt_sigprocmask, R7
	SWI	$0
	MOVW	$·received+answers_maskResult(SB), R5
	MOVW	R0, (R5)

	// fstat64(fd, &file[fd])
	MOVW	$·received+answers_file(SB), R4
	MOVW	$·received+answers_fileResult(SB), R5
	MOVW	$0, R6
descriptor:
	MOVW	R8, (R4)	// noDevice
	MOVW	R6, R0
	MOVW	R4, R1
	MOVW	$SYS_fstat64, R7
	SWI	$0
	MOVW.P	R0, 4(R5)
	ADD	$const_statSize, R4
	ADD	$1, R6
	CMP	$3, R6
	BNE	descriptor

	// fcntl(fd, F_GETFD), from 3 on until one is not open
open:
	MOVW	R6, R0
	MOVW	$const_getFD, R1
	MOVW	$0, R2
	MOVW	$SYS_fcntl64, R7
	SWI	$0
	CMP	$0, R0
	BGE	taken
	CMP	$-const_badFD, R0
	BEQ	free
	B	die<>(SB)	// the runtime asks the same and would give up
taken:
	ADD	$1, R6
	CMP	$const_mostFDs, R6
	BLT	open
free:
	MOVW	$·received+answers_free(SB), R4
	MOVW	R6, (R4)
	MOVW	$·received+answers_freeResult(SB), R4
	MOVW	R0, (R4)

	// rt_sigaction(signal, &action, NULL, 8) for each of deadly
	MOVW	$·deadly(SB), R4
	MOVW	$const_deadlyCount, R6
handler:
	MOVW.P	4(R4), R0
	MOVW	$action<>(SB), R1
	MOVW	$0, R2
	MOVW	$8, R3
	MOVW	$SYS_rt_sigaction, R7
	SWI	$0
	SUB.S	$1, R6
	BNE	handler
	CMP	$0, R0	// who forbids this has forbidden the runtime to start
	BGE	handlers
	B	die<>(SB)
handlers:

	// timer_create(CLOCK_MONOTONIC, &expiry, &timer), timer_settime(timer, 0, &deadline, NULL)
	MOVW	$const_clockMonotonic, R0
	MOVW	$·expiry(SB), R1
	MOVW	$·timer(SB), R2
	MOVW	$SYS_timer_create, R7
	SWI	$0
	MOVW	·timer(SB), R0
	MOVW	$0, R1
	MOVW	$·deadline(SB), R2
	MOVW	$0, R3
	MOVW	$SYS_timer_settime, R7
	SWI	$0

	// mmap2(NULL, room, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0), munmap(it, room)
	MOVW	$0, R0
	MOVW	$const_room, R1
	MOVW	$0, R2
	MOVW	$const_reserved, R3
	MOVW	R8, R4
	MOVW	$0, R5
	MOVW	$SYS_mmap2, R7
	SWI	$0
	SUB	$1, R0, R2	// of an address, less than that of a page below an errno
	MOVW	$-4097, R3
	CMP	R3, R2
	BLO	roomy
	B	die<>(SB)
roomy:
	MOVW	$SYS_munmap, R7
	SWI	$0

	// R9: the block. R1: its envp. R2: its end, behind the pair of auxv that begins with 0.
	MOVW	(R9), R0
	ADD	R0<<2, R9, R1
	ADD	$8, R1
	MOVW	R1, R2
environment:
	MOVW.P	4(R2), R0
	CMP	$0, R0
	BNE	environment
auxiliary:
	MOVW.P	8(R2), R0
	CMP	$0, R0
	BNE	auxiliary

	// Room for the copy. execve(2) limits the block and its strings to a quarter of the stack.
	SUB	R9, R2, R3
	SUB	R3, R9, R3
	SUB	$(const_settingsCount*4), R3
	BIC	$15, R3
	MOVW	R3, R13

arguments:	// argc, argv, NULL
	MOVW.P	4(R9), R0
	MOVW.P	R0, 4(R3)
	CMP	R1, R9
	BNE	arguments
	MOVW	$·settings(SB), R4
	MOVW	$const_settingsCount, R5
setting:
	MOVW.P	8(R4), R0	// of a string, the pointer
	MOVW.P	R0, 4(R3)
	SUB.S	$1, R5
	BNE	setting
rest:	// envp, NULL, auxv
	MOVW.P	4(R9), R0
	MOVW.P	R0, 4(R3)
	CMP	R2, R9
	BNE	rest

	B	_rt0_arm_linux(SB)

DATA action<>+0(SB)/4, $die<>(SB)
DATA action<>+4(SB)/4, $0x0c000000
DATA action<>+8(SB)/4, $die<>(SB)
DATA action<>+12(SB)/8, $0
GLOBL action<>(SB), RODATA, $20

TEXT die<>(SB),NOSPLIT|NOFRAME,$0
	MOVW	·lastWords(SB), R3
	MOVW	$2, R0
	MOVW	0(R3), R1
	MOVW	4(R3), R2
	MOVW	$SYS_write, R7
	SWI	$0
	MOVW	$const_lastStatus, R0
	MOVW	$SYS_exit_group, R7
	SWI	$0
	UNDEF
