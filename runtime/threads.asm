; threads.asm: how a kernel call is shared. Every thread computes its own slice of every output, so the results do not
; depend on their number. One thread runs today; the step is already written for more.

%include "common.inc"

global thread_slice, thread_barrier

; thread_slice: r9 = units, r12 = this thread, r13 = threads  ->  [r8, r9) = [units * r12 / r13, units * (r12 + 1) / r13).
; Keeps all but rax r8 r9 r10.
thread_slice:
    cmp     r13, 1
    jne     .share
    xor     r8d, r8d
    ret
.share:
    mov     r10, rdx
    mov     rax, r12
    mul     r9
    div     r13
    mov     r8, rax
    lea     rax, [r12 + 1]
    mul     r9
    div     r13
    mov     r9, rax
    mov     rdx, r10
    ret

; thread_barrier: returns when every thread has arrived. Keeps all registers.
thread_barrier:
    ret
