; signals.asm: SIGINT and SIGTERM only leave a note, so that the step ends, the weights are saved and nothing is half
; done.
; SIGXFSZ is ignored (a write then fails with EFBIG); SIGBUS, which a mapped file that shrinks raises, ends with a
; message.

%include "common.inc"
%include "print.inc"

global signals_install, signal_number

SIGINT              equ 2
SIGBUS              equ 7
SIGTERM             equ 15
SIGXFSZ             equ 25
SA_RESTORER         equ 0x04000000
SA_RESTART          equ 0x10000000
SIG_IGN             equ 1
SIGSET_BYTES        equ 8

section .rodata
align 8
note_action:        dq note, SA_RESTORER | SA_RESTART, restore, 0     ; handler, flags, restorer, mask
ignore_action:      dq SIG_IGN, SA_RESTORER, restore, 0
bus_action:         dq bus_error, SA_RESTORER, restore, 0

section .bss
signal_number:      resd 1              ; the first signal that asked to stop, or 0
bus_errors:         resd 1              ; threads that met one

section .text

signals_install:
    mov     edi, SIGINT
    lea     rsi, [note_action]
    call    .install
    mov     edi, SIGTERM
    lea     rsi, [note_action]
    call    .install
    mov     edi, SIGXFSZ
    lea     rsi, [ignore_action]
    call    .install
    mov     edi, SIGBUS
    lea     rsi, [bus_action]
.install:
    xor     edx, edx
    mov     r10d, SIGSET_BYTES
    SYSCALL SYS_rt_sigaction
    ret

; note: edi = signal. A signal handler: changes nothing else. One instruction, since another signal may come in between.
note:
    xor     eax, eax
    cmpxchg [signal_number], edi        ; if it is still 0
    ret

restore:
    SYSCALL SYS_rt_sigreturn

; bus_error: several threads may come here; the first one speaks and ends the others
bus_error:
    mov     eax, 1
    xchg    eax, [bus_errors]
    test    eax, eax
    jz      .first
.other:
    pause
    jmp     .other
.first:
    FAIL    EXIT_FAILED, "a data file changed or became unreadable while it was in use"
