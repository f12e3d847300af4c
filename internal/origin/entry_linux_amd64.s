#include "go_asm.h"
#include "textflag.h"

#define SYS_fstat		5
#define SYS_mmap		9
#define SYS_munmap		11
#define SYS_rt_sigaction	13
#define SYS_rt_sigprocmask	14
#define SYS_write		1
#define SYS_timer_create	222
#define SYS_timer_settime	223
#define SYS_fcntl		72
#define SYS_exit_group		231

// The ELF entry, chosen with the linker's -E. The kernel gives it no return address and no register but
// SP, which points to argc, argv, NULL, envp, NULL, auxv. It stores answers for package origin and does not
// judge them: an error is stored like an answer, unless the runtime would only die of it. It leaves a handler
// for such an end (lastwords_linux.go). Then it goes on to the runtime's entry, with SP at a copy of that block
// in which the settings stand before envp. The kernel's block stays as it is.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVQ	SP, ·initialStack(SB)
	LEAQ	·received(SB), BX

	// rt_sigaction(signal, NULL, &action[signal-1], 8). SYSCALL overwrites AX, CX and R11 only.
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

	// fstat(fd, &file[fd])
	LEAQ	answers_file(BX), R13
	XORL	R12, R12
descriptor:
	MOVQ	$-1, (R13)	// noDevice
	MOVQ	R12, DI
	MOVQ	R13, SI
	MOVL	$SYS_fstat, AX
	SYSCALL
	MOVQ	AX, answers_fileResult(BX)(R12*8)
	ADDQ	$const_statSize, R13
	INCQ	R12
	CMPQ	R12, $3
	JNE	descriptor

	// fcntl(fd, F_GETFD), from 3 on until one is not open
open:
	MOVQ	R12, DI
	MOVL	$const_getFD, SI
	XORL	DX, DX
	MOVL	$SYS_fcntl, AX
	SYSCALL
	TESTQ	AX, AX
	JGE	taken
	CMPQ	AX, $-const_badFD
	JEQ	free
	JMP	die<>(SB)	// the runtime asks the same and would give up
taken:
	INCQ	R12
	CMPQ	R12, $const_mostFDs
	JLT	open
free:
	MOVQ	R12, answers_free(BX)
	MOVQ	AX, answers_freeResult(BX)

	// rt_sigaction(signal, &action, NULL, 8) for each of deadly
	LEAQ	·deadly(SB), R13
	MOVL	$const_deadlyCount, R12
handler:
	MOVQ	(R13), DI
	LEAQ	action<>(SB), SI
	XORL	DX, DX
	MOVL	$8, R10
	MOVL	$SYS_rt_sigaction, AX
	SYSCALL
	ADDQ	$8, R13
	DECQ	R12
	JNE	handler
	TESTQ	AX, AX	// who forbids this has forbidden the runtime to start
	JGE	handlers
	JMP	die<>(SB)
handlers:

	// timer_create(CLOCK_MONOTONIC, &expiry, &timer), timer_settime(timer, 0, &deadline, NULL)
	MOVL	$const_clockMonotonic, DI
	LEAQ	·expiry(SB), SI
	LEAQ	·timer(SB), DX
	MOVL	$SYS_timer_create, AX
	SYSCALL
	MOVL	·timer(SB), DI
	XORL	SI, SI
	LEAQ	·deadline(SB), DX
	XORL	R10, R10
	MOVL	$SYS_timer_settime, AX
	SYSCALL

	// mmap(NULL, room, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0), munmap(it, room)
	XORL	DI, DI
	MOVL	$const_room, SI
	XORL	DX, DX
	MOVL	$const_reserved, R10
	MOVQ	$-1, R8
	XORL	R9, R9
	MOVL	$SYS_mmap, AX
	SYSCALL
	TESTQ	AX, AX
	JGT	roomy
	JMP	die<>(SB)
roomy:
	MOVQ	AX, DI
	MOVL	$SYS_munmap, AX
	SYSCALL

	// SI: the block. DX: its envp. R8: its end, behind the pair of auxv that begins with 0.
	MOVQ	SP, SI
	MOVQ	(SI), AX
	LEAQ	16(SI)(AX*8), DX
	MOVQ	DX, R8
environment:
	MOVQ	(R8), AX
	ADDQ	$8, R8
	TESTQ	AX, AX
	JNE	environment
auxiliary:
	MOVQ	(R8), AX
	ADDQ	$16, R8
	TESTQ	AX, AX
	JNE	auxiliary

	// Room for the copy. execve(2) limits the block and its strings to a quarter of the stack.
	LEAQ	-(const_settingsCount*8)(SI), DI
	SUBQ	R8, DI
	ADDQ	SI, DI
	ANDQ	$~15, DI
	MOVQ	DI, SP

	MOVQ	DX, CX	// argc, argv, NULL
	SUBQ	SI, CX
	SHRQ	$3, CX
	REP; MOVSQ
	LEAQ	·settings(SB), AX
	MOVL	$const_settingsCount, CX
setting:
	MOVQ	(AX), R9	// of a string, the pointer
	MOVQ	R9, (DI)
	ADDQ	$16, AX
	ADDQ	$8, DI
	DECQ	CX
	JNE	setting
	MOVQ	R8, CX	// envp, NULL, auxv
	SUBQ	SI, CX
	SHRQ	$3, CX
	REP; MOVSQ

	JMP	_rt0_amd64_linux(SB)

// struct sigaction of the kernel: handler, SA_ONSTACK and SA_RESTORER, restorer, mask. The handler never
// returns, and so needs no restorer, but for a kernel that insists.
DATA action<>+0(SB)/8, $die<>(SB)
DATA action<>+8(SB)/8, $0x0c000000
DATA action<>+16(SB)/8, $die<>(SB)
DATA action<>+24(SB)/8, $0
GLOBL action<>(SB), RODATA, $32

// die is the signal handler: write(2, *lastWords), exit_group(lastStatus). It may run on any thread, in the
// middle of anything, and touches nothing but registers.
TEXT die<>(SB),NOSPLIT|NOFRAME,$0
	MOVQ	·lastWords(SB), AX
	MOVL	$2, DI
	MOVQ	0(AX), SI
	MOVQ	8(AX), DX
	MOVL	$SYS_write, AX
	SYSCALL
	MOVL	$const_lastStatus, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	UNDEF
