; entry.asm: where libc starts the trainer. argc lies below argv, as the kernel put it, and the environment behind.

%include "common.inc"

extern start, process_stack

global main

section .text
main:                                   ; rsi -> argv
    lea     rax, [rsi - 8]
    mov     [process_stack], rax
    and     rsp, -16
    jmp     start
