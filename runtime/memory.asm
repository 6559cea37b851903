; memory.asm: memory from the kernel: the arena, and anonymous buffers. Both start as zeros.

%include "common.inc"
%include "print.inc"
%include "model.inc"

global memory_take, memory_release, arena_open, arena

PROT_READ           equ 1
PROT_WRITE          equ 2
MAP_PRIVATE         equ 2
MAP_ANONYMOUS       equ 0x20
MADV_HUGEPAGE       equ 14
HUGE_PAGE           equ 2 << 20

section .bss
arena:              resq 1              ; -> the arena, aligned to a huge page

section .text

; memory_take: rdi = bytes  ->  rax -> memory; ends the program where there is none
memory_take:
    push    rdi
    mov     rsi, rdi
    xor     edi, edi
    mov     edx, PROT_READ | PROT_WRITE
    mov     r10d, MAP_PRIVATE | MAP_ANONYMOUS
    mov     r8, -1
    xor     r9d, r9d
    SYSCALL SYS_mmap
    pop     rdi
    cmp     rax, -4096
    jbe     .return
    FAIL    EXIT_FAILED, "cannot get %m MB of memory: %e", rdi, rax
.return:
    ret

; memory_release: rdi -> memory, rsi = bytes
memory_release:
    SYSCALL SYS_munmap
    ret

; arena_open: makes the arena; huge pages are a wish
arena_open:
    mov     rdi, [model_arena_bytes]
    add     rdi, HUGE_PAGE
    call    memory_take
    add     rax, HUGE_PAGE - 1
    and     rax, -HUGE_PAGE
    mov     [arena], rax
    mov     rdi, rax
    mov     rsi, [model_arena_bytes]
    mov     edx, MADV_HUGEPAGE
    SYSCALL SYS_madvise
    ret
