; entry.asm: where libc starts the trainer. argc lies below argv, as the kernel put it, and the environment behind.

%include "common.inc"

extern start, process_stack, exit

global main, machine_exit

section .text
main:                                   ; rsi -> argv
    lea     rax, [rsi - 8]
    mov     [process_stack], rax
    and     rsp, -16
    jmp     start

; machine_exit: the end of a run without failures. Through libc, so that profilers hear of it; a failure leaves at once,
; since it may come in the midst of anything.
machine_exit:
    xor     edi, edi
    and     rsp, -16
    call    exit
