#include "go_asm.h"
#include "textflag.h"

#define SYS_rt_sigaction	174
#define SYS_rt_sigprocmask	175
#define SYS_fstat64		197

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
