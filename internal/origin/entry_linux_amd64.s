#include "go_asm.h"
#include "textflag.h"

#define SYS_rt_sigaction	13
#define SYS_rt_sigprocmask	14
#define SYS_fcntl		72

// The ELF entry, chosen with the linker's -E. The kernel gives it no return address and no register but SP, which
// points to argc, argv, NULL, envp, NULL, auxv. It stores answers for package origin and does not judge them: an
// error is stored like an answer. Then it moves argc and argv down to make room for the settings in front of envp,
// and goes on to the runtime's entry. SYSCALL overwrites AX, CX and R11 only.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	LEAQ	·received(SB), BX

	// rt_sigaction(signal, NULL, &action[signal-1], 8)
	LEAQ	answers_action(BX), R13
	XORL	R12, R12
signal:
	MOVQ	$-1, (R13)	// noHandler
	LEAQ	1(R12), DI
	XORL	SI, SI
	MOVQ	R13, DX
	MOVL	$8, R10
	MOVL	$SYS_rt_sigaction, AX
	SYSCALL
	MOVQ	AX, answers_actionResult(BX)(R12*8)
	ADDQ	$const_sigactionSize, R13
	INCQ	R12
	CMPQ	R12, $64
	JNE	signal

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	MOVQ	$-1, answers_mask(BX)	// noMask
	XORL	DI, DI
	XORL	SI, SI
	LEAQ	answers_mask(BX), DX
	MOVL	$8, R10
	MOVL	$SYS_rt_sigprocmask, AX
	SYSCALL
	MOVQ	AX, answers_maskResult(BX)

	// fcntl(fd, F_GETFD), twice for each fd
	XORL	R12, R12
descriptor:
	MOVQ	R12, DI
	SHRQ	$1, DI
	MOVL	$const_getFD, SI
	XORL	DX, DX
	MOVL	$SYS_fcntl, AX
	SYSCALL
	MOVQ	AX, answers_flags(BX)(R12*8)
	INCQ	R12
	CMPQ	R12, $6
	JNE	descriptor

	// argc, argv and NULL move down, the lowest word first.
	MOVQ	SP, SI
	MOVQ	(SI), CX
	ADDQ	$2, CX
	LEAQ	-(const_settingsCount*8)(SI), DI
	MOVQ	DI, SP
	MOVQ	DI, ·initialStack(SB)
	CLD
	REP; MOVSQ

	// The settings come between them and envp.
	LEAQ	·settings(SB), AX
	MOVL	$const_settingsCount, CX
setting:
	MOVQ	(AX), R9	// of a string, the pointer
	MOVQ	R9, (DI)
	ADDQ	$16, AX
	ADDQ	$8, DI
	DECQ	CX
	JNE	setting

	JMP	_rt0_amd64_linux(SB)
