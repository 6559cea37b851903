; entry.asm: where the kernel starts a static executable.

%include "common.inc"

extern start, process_stack

global _start, machine_exit

section .text
_start:
    mov     [process_stack], rsp
    and     rsp, -16
    jmp     start

; machine_exit: the end of a run without failures
machine_exit:
    xor     edi, edi
    SYSCALL SYS_exit_group
