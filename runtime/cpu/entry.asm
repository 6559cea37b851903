; entry.asm: where the kernel starts a static executable.

%include "common.inc"

extern start, process_stack

global _start

section .text
_start:
    mov     [process_stack], rsp
    and     rsp, -16
    jmp     start
