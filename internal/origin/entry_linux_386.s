#include "go_asm.h"
#include "textflag.h"

#define SYS_munmap		91
#define SYS_rt_sigaction	174
#define SYS_rt_sigprocmask	175
#define SYS_mmap2		192
#define SYS_fstat64		197
#define SYS_write		4
#define SYS_timer_create	259
#define SYS_timer_settime	260
#define SYS_fcntl64		221
#define SYS_exit_group		252

// See entry_linux_amd64.s, which says what and why. INT overwrites AX only.
TEXT _caplaunch_entry(SB),NOSPLIT|NOFRAME,$0
	MOVL	SP, ·initialStack(SB)

	// rt_sigaction(signal, NULL, &action[signal-1], 8)
	LEAL	·received+answers_action(SB), BP
	XORL	DI, DI
signal:
	MOVL	$-1, (BP)	// noHandler
	LEAL	1(DI), BX
	XORL	CX, CX
	MOVL	BP, DX
	MOVL	$8, SI
	MOVL	$SYS_rt_sigaction, AX
	INT	$0x80
	MOVL	AX, ·received+answers_actionResult(SB)(DI*4)
	ADDL	$const_sigactionSize, BP
	INCL	DI
	CMPL	DI, $64
	JNE	signal

	// rt_sigprocmask(SIG_BLOCK, NULL, &mask, 8)
	LEAL	·received+answers_mask(SB), DX
	MOVL	$-1, 0(DX)	// noMask
	MOVL	$-1, 4(DX)
	XORL	BX, BX
	XORL	CX, CX
	MOVL	$8, SI
	MOVL	$SYS_rt_sigprocmask, AX
	INT	$0x80
	MOVL	AX, ·received+answers_maskResult(SB)

	// fstat64(fd, &file[fd])
	LEAL	·received+answers_file(SB), CX
	XORL	BX, BX
descriptor:
	MOVL	$-1, (CX)	// noDevice
	MOVL	$SYS_fstat64, AX
	INT	$0x80
	MOVL	AX, ·received+answers_fileResult(SB)(BX*4)
	ADDL	$const_statSize, CX
	INCL	BX
	CMPL	BX, $3
	JNE	descriptor

	// fcntl(fd, F_GETFD), from 3 on until one is not open
	XORL	DX, DX
open:
	MOVL	$const_getFD, CX
	MOVL	$SYS_fcntl64, AX
	INT	$0x80
	TESTL	AX, AX
	JGE	taken
	CMPL	AX, $-const_badFD
	JEQ	free
	JMP	die<>(SB)	// the runtime asks the same and would give up
taken:
	INCL	BX
	CMPL	BX, $const_mostFDs
	JLT	open
free:
	MOVL	BX, ·received+answers_free(SB)
	MOVL	AX, ·received+answers_freeResult(SB)

	// rt_sigaction(signal, &action, NULL, 8) for each of deadly
	LEAL	·deadly(SB), BP
	MOVL	$const_deadlyCount, DI
handler:
	MOVL	(BP), BX
	LEAL	action<>(SB), CX
	XORL	DX, DX
	MOVL	$8, SI
	MOVL	$SYS_rt_sigaction, AX
	INT	$0x80
	ADDL	$4, BP
	DECL	DI
	JNE	handler
	TESTL	AX, AX	// who forbids this has forbidden the runtime to start
	JGE	handlers
	JMP	die<>(SB)
handlers:

	// timer_create(CLOCK_MONOTONIC, &expiry, &timer), timer_settime(timer, 0, &deadline, NULL)
	MOVL	$const_clockMonotonic, BX
	LEAL	·expiry(SB), CX
	LEAL	·timer(SB), DX
	MOVL	$SYS_timer_create, AX
	INT	$0x80
	MOVL	·timer(SB), BX
	XORL	CX, CX
	LEAL	·deadline(SB), DX
	XORL	SI, SI
	MOVL	$SYS_timer_settime, AX
	INT	$0x80

	// mmap2(NULL, room, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0), munmap(it, room)
	XORL	BX, BX
	MOVL	$const_room, CX
	XORL	DX, DX
	MOVL	$const_reserved, SI
	MOVL	$-1, DI
	XORL	BP, BP
	MOVL	$SYS_mmap2, AX
	INT	$0x80
	DECL	AX	// of an address, less than that of a page below an errno
	CMPL	AX, $-4097
	JCS	roomy
	JMP	die<>(SB)
roomy:
	INCL	AX
	MOVL	AX, BX
	MOVL	$SYS_munmap, AX
	INT	$0x80

	// SI: the block. DX: its envp. BP: its end, behind the pair of auxv that begins with 0.
	MOVL	SP, SI
	MOVL	(SI), AX
	LEAL	8(SI)(AX*4), DX
	MOVL	DX, BP
environment:
	MOVL	(BP), AX
	ADDL	$4, BP
	TESTL	AX, AX
	JNE	environment
auxiliary:
	MOVL	(BP), AX
	ADDL	$8, BP
	TESTL	AX, AX
	JNE	auxiliary

	// Room for the copy. execve(2) limits the block and its strings to a quarter of the stack.
	LEAL	-(const_settingsCount*4)(SI), DI
	SUBL	BP, DI
	ADDL	SI, DI
	ANDL	$~15, DI
	MOVL	DI, SP

	MOVL	DX, CX	// argc, argv, NULL
	SUBL	SI, CX
	SHRL	$2, CX
	REP; MOVSL
	LEAL	·settings(SB), AX
	MOVL	$const_settingsCount, CX
setting:
	MOVL	(AX), BX	// of a string, the pointer
	MOVL	BX, (DI)
	ADDL	$8, AX
	ADDL	$4, DI
	DECL	CX
	JNE	setting
	MOVL	BP, CX	// envp, NULL, auxv
	SUBL	SI, CX
	SHRL	$2, CX
	REP; MOVSL

	JMP	_rt0_386_linux(SB)

DATA action<>+0(SB)/4, $die<>(SB)
DATA action<>+4(SB)/4, $0x0c000000
DATA action<>+8(SB)/4, $die<>(SB)
DATA action<>+12(SB)/8, $0
GLOBL action<>(SB), RODATA, $20

TEXT die<>(SB),NOSPLIT|NOFRAME,$0
	MOVL	·lastWords(SB), AX
	MOVL	$2, BX
	MOVL	0(AX), CX
	MOVL	4(AX), DX
	MOVL	$SYS_write, AX
	INT	$0x80
	MOVL	$const_lastStatus, BX
	MOVL	$SYS_exit_group, AX
	INT	$0x80
	UNDEF
