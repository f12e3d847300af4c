#include "go_asm.h"
#include "textflag.h"

#define SYS_fcntl		25
#define SYS_rt_sigaction	134
#define SYS_rt_sigprocmask	135

// See entry_linux_amd64.s, which says what and why. SVC overwrites R0 only.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVD	RSP, R20
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

	// fcntl(fd, F_GETFD), twice for each fd
	ADD	$answers_flags, R19, R23
	MOVD	$0, R24
descriptor:
	LSR	$1, R24, R0
	MOVD	$const_getFD, R1
	MOVD	$0, R2
	MOVD	$SYS_fcntl, R8
	SVC
	MOVD.P	R0, 8(R23)
	ADD	$1, R24
	CMP	$6, R24
	BNE	descriptor

	// argc, argv and NULL move down, the lowest word first.
	MOVD	(R20), R1
	ADD	$2, R1
	SUB	$(const_settingsCount*8), R20, R3
	MOVD	R3, RSP
	MOVD	$·initialStack(SB), R0
	MOVD	R3, (R0)
argument:
	MOVD.P	8(R20), R0
	MOVD.P	R0, 8(R3)
	SUBS	$1, R1
	BNE	argument

	// The settings come between them and envp.
	MOVD	$·settings(SB), R4
	MOVD	$const_settingsCount, R5
setting:
	MOVD.P	16(R4), R0	// of a string, the pointer
	MOVD.P	R0, 8(R3)
	SUBS	$1, R5
	BNE	setting

	B	_rt0_arm64_linux(SB)
