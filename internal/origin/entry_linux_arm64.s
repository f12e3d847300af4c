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

// See entry_linux_amd64.s, which says what and why. SVC overwrites R0 only.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD	RSP, R20
	MOVD	$·initialStack(SB), R0
	MOVD	R20, (R0)
	MOVD	$·received(SB), R19
	MOVD	$-1, R21

	// rt_sigaction(signal, NULL, &action[signal-1], 8)
	ADD	$answers_action, R19, R22
	ADD	$answers_actionResult, R19, R23
	MOVD	$1, R24
signal:
	MOVD	R21, (R22)	// noHandler
	MOVD	R24, R0
	MOVD	$0, R1
	MOVD	R22, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigaction, R8
	SVC
	MOVD.P	R0, 8(R23)
	ADD	$const_sigactionSize, R22
	ADD	$1, R24
	CMP	$64, R24
	BLE	signal

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	ADD	$answers_mask, R19, R2
	MOVD	R21, (R2)	// noMask
	MOVD	$0, R0
	MOVD	$0, R1
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	MOVD	R0, answers_maskResult(R19)

	// fstat(fd, &file[fd])
	ADD	$answers_file, R19, R22
	ADD	$answers_fileResult, R19, R23
	MOVD	$0, R24
descriptor:
	MOVD	R21, (R22)	// noDevice
	MOVD	R24, R0
	MOVD	R22, R1
	MOVD	$SYS_fstat, R8
	SVC
	MOVD.P	R0, 8(R23)
	ADD	$const_statSize, R22
	ADD	$1, R24
	CMP	$3, R24
	BNE	descriptor

	// fcntl(fd, F_GETFD), from 3 on until one is not open
open:
	MOVD	R24, R0
	MOVD	$const_getFD, R1
	MOVD	$0, R2
	MOVD	$SYS_fcntl, R8
	SVC
	CMP	$0, R0
	BGE	taken
	CMN	$const_badFD, R0
	BEQ	free
	B	die<>(SB)	// the runtime asks the same and would give up
taken:
	ADD	$1, R24
	CMP	$const_mostFDs, R24
	BLT	open
free:
	MOVD	R24, answers_free(R19)
	MOVD	R0, answers_freeResult(R19)

	// rt_sigaction(signal, &action, NULL, 8) for each of deadly
	MOVD	$·deadly(SB), R22
	MOVD	$const_deadlyCount, R24
handler:
	MOVD.P	8(R22), R0
	MOVD	$action<>(SB), R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigaction, R8
	SVC
	SUBS	$1, R24
	BNE	handler
	CMP	$0, R0	// who forbids this has forbidden the runtime to start
	BGE	handlers
	B	die<>(SB)
handlers:

	// timer_create(CLOCK_MONOTONIC, &expiry, &timer), timer_settime(timer, 0, &deadline, NULL)
	MOVD	$const_clockMonotonic, R0
	MOVD	$·expiry(SB), R1
	MOVD	$·timer(SB), R2
	MOVD	$SYS_timer_create, R8
	SVC
	MOVW	·timer(SB), R0
	MOVD	$0, R1
	MOVD	$·deadline(SB), R2
	MOVD	$0, R3
	MOVD	$SYS_timer_settime, R8
	SVC

	// mmap(NULL, room, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0), munmap(it, room)
	MOVD	$0, R0
	MOVD	$const_room, R1
	MOVD	$0, R2
	MOVD	$const_reserved, R3
	MOVD	R21, R4
	MOVD	$0, R5
	MOVD	$SYS_mmap, R8
	SVC
	CMP	$0, R0
	BGT	roomy
	B	die<>(SB)
roomy:
	MOVD	$SYS_munmap, R8
	SVC

	// R20: the block. R1: its envp. R2: its end, behind the pair of auxv that begins with 0.
	MOVD	(R20), R0
	ADD	R0<<3, R20, R1
	ADD	$16, R1
	MOVD	R1, R2
environment:
	MOVD.P	8(R2), R0
	CBNZ	R0, environment
auxiliary:
	MOVD.P	16(R2), R0
	CBNZ	R0, auxiliary

	// Room for the copy. execve(2) limits the block and its strings to a quarter of the stack.
	SUB	R20, R2, R3
	SUB	R3, R20, R3
	SUB	$(const_settingsCount*8), R3
	AND	$~15, R3
	MOVD	R3, RSP

arguments:	// argc, argv, NULL
	MOVD.P	8(R20), R0
	MOVD.P	R0, 8(R3)
	CMP	R1, R20
	BNE	arguments
	MOVD	$·settings(SB), R4
	MOVD	$const_settingsCount, R5
setting:
	MOVD.P	16(R4), R0	// of a string, the pointer
	MOVD.P	R0, 8(R3)
	SUBS	$1, R5
	BNE	setting
rest:	// envp, NULL, auxv
	MOVD.P	8(R20), R0
	MOVD.P	R0, 8(R3)
	CMP	R2, R20
	BNE	rest

	B	_rt0_arm64_linux(SB)

DATA action<>+0(SB)/8, $die<>(SB)
DATA action<>+8(SB)/8, $0x0c000000
DATA action<>+16(SB)/8, $die<>(SB)
DATA action<>+24(SB)/8, $0
GLOBL action<>(SB), RODATA, $32

TEXT die<>(SB),NOSPLIT|NOFRAME,$0
	MOVD	·lastWords(SB), R3
	MOVD	$2, R0
	MOVD	0(R3), R1
	MOVD	8(R3), R2
	MOVD	$SYS_write, R8
	SVC
	MOVD	$const_lastStatus, R0
	MOVD	$SYS_exit_group, R8
	SVC
	UNDEF
