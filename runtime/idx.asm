; idx.asm: IDX files: two zero bytes, a type, a rank, `rank` big-endian extents, then the elements. Only unsigned bytes
; here.

%include "common.inc"
%include "print.inc"

extern file_map

global idx_map, idx_shape

TYPE_UBYTE          equ 8
MAX_RANK            equ 32              ; as asmgen/data/idx.py
GZIP_MAGIC          equ 0x8b1f          ; as a little-endian word

section .bss
idx_shape:          resq 1 + MAX_RANK   ; rank, extents of the file that was mapped last

section .text

; idx_map: rdi -> path  ->  rax -> the elements of the file, idx_shape; ends the program where its magic or its size is
; wrong
idx_map:
    push    rbx
    push    r12
    push    r13
    mov     r12, rdi
    call    file_map
    jc      .unreadable
    mov     rbx, rax
    mov     r13, rdx
    cmp     r13, 2
    jb      .short
    cmp     word [rbx], GZIP_MAGIC
    je      .gzip
    cmp     r13, 8
    jb      .short
    cmp     word [rbx], 0
    jne     .magic
    cmp     byte [rbx + 2], TYPE_UBYTE
    jne     .magic
    movzx   ecx, byte [rbx + 3]
    dec     ecx
    cmp     ecx, MAX_RANK - 1
    ja      .magic
    lea     r8, [rcx * 4 + 8]           ; bytes of the header
    cmp     r13, r8
    jb      .short

    lea     r10, [idx_shape]
    inc     ecx
    mov     [r10], rcx
    mov     eax, 1                      ; the number of elements
    xor     ecx, ecx
.extent:
    mov     r9d, [rbx + rcx * 4 + 4]
    bswap   r9d
    inc     ecx
    mov     [r10 + rcx * 8], r9
    mul     r9
    jc      .huge
    cmp     rcx, [r10]
    jb      .extent
    add     rax, r8
    jc      .huge
    cmp     rax, r13
    jne     .size
    lea     rax, [rbx + r8]
    pop     r13
    pop     r12
    pop     rbx
    ret

.unreadable:
    FAIL    EXIT_FAILED, "cannot read %s: %e", r12, rax
.gzip:
    FAIL    EXIT_FAILED, "%s is compressed with gzip: unpack it (gunzip), or run `asmgen data import`", r12
.short:
    FAIL    EXIT_FAILED, "%s has %u bytes: too short for an IDX file, it is truncated", r12, r13
.magic:
    mov     eax, [rbx]
    bswap   eax
    FAIL    EXIT_FAILED, "%s starts with 0x%x: not an IDX file of unsigned bytes (0x00000801 to 0x00000820)", r12, rax
.huge:
    FAIL    EXIT_FAILED, "%s has %u bytes, but its header announces 2^64 or more: it is truncated", r12, r13
.size:
    cmp     r13, rax
    ja      .larger
    FAIL    EXIT_FAILED, "%s has %u bytes, but its header announces %u: it is truncated", r12, r13, rax
.larger:
    FAIL    EXIT_FAILED, "%s has %u bytes, but its header announces %u: they must be equal", r12, r13, rax
