; clock.asm: time that only goes forward.

%include "common.inc"

global clock_now

CLOCK_MONOTONIC     equ 1

section .text

; clock_now:  ->  rax = nanoseconds since some moment in the past
clock_now:
    sub     rsp, 24
    mov     edi, CLOCK_MONOTONIC
    mov     rsi, rsp
    SYSCALL SYS_clock_gettime
    imul    rax, [rsp], 1000000000
    add     rax, [rsp + 8]
    add     rsp, 24
    ret
