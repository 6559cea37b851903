; files.asm: files as memory, and what can be asked about a path.

%include "common.inc"

global standard_files, file_map, file_read, file_kind

O_RDONLY            equ 0
O_NONBLOCK          equ 0x800
O_CLOEXEC           equ 0x80000
PROT_READ           equ 1
MAP_PRIVATE         equ 2
EINVAL              equ 22
EISDIR              equ 21
STAT_BYTES          equ 144
STAT_MODE           equ 24              ; offset of st_mode
STAT_SIZE           equ 48              ; offset of st_size
S_IFMT              equ 0xf000
S_IFDIR             equ 0x4000
S_IFREG             equ 0x8000

section .rodata
null_path:          db "/dev/null", 0

section .text

; standard_files: where the caller has closed standard output (`>&-`) or another of the three, no file of ours may get
; its number; it becomes one that cannot be written. open gives the lowest number that is free.
standard_files:
    lea     rdi, [null_path]
    mov     esi, O_RDONLY
    xor     edx, edx
    SYSCALL SYS_open
    test    rax, rax
    js      .return
    cmp     eax, STDERR
    jbe     standard_files
    mov     edi, eax
    SYSCALL SYS_close
.return:
    ret

; file_map: rdi -> path  ->  rax -> its bytes (read only), rdx = how many; or CF, rax = -errno
file_map:
    push    rbx
    push    r12
    sub     rsp, STAT_BYTES + 8
    mov     esi, O_RDONLY | O_NONBLOCK | O_CLOEXEC
    xor     edx, edx
    SYSCALL SYS_open
    test    rax, rax
    js      .failed
    mov     ebx, eax
    mov     edi, eax
    mov     rsi, rsp
    SYSCALL SYS_fstat
    test    rax, rax
    js      .close
    mov     ecx, [rsp + STAT_MODE]
    and     ecx, S_IFMT
    mov     rax, -EISDIR
    cmp     ecx, S_IFDIR
    je      .close
    mov     rax, -EINVAL
    cmp     ecx, S_IFREG
    jne     .close
    mov     r12, [rsp + STAT_SIZE]
    mov     rax, rsp                    ; an empty file has no bytes to map: any address will do
    test    r12, r12
    jz      .close
    xor     edi, edi
    mov     rsi, r12
    mov     edx, PROT_READ
    mov     r10d, MAP_PRIVATE
    mov     r8d, ebx
    xor     r9d, r9d
    SYSCALL SYS_mmap
.close:
    push    rax
    mov     edi, ebx
    SYSCALL SYS_close
    pop     rax
    cmp     rax, -4096
    ja      .failed
    mov     rdx, r12
    clc
    jmp     .return
.failed:
    stc
.return:
    lea     rsp, [rsp + STAT_BYTES + 8]
    pop     r12
    pop     rbx
    ret

; file_read: rdi -> path, rsi -> memory, rdx = bytes of it. For the files of /proc and /sys, whose size is not known
; before.
;   ->  rax = bytes read, with a zero behind them, less than rdx; or CF, rax = -errno
file_read:
    push    rbx
    push    r12
    push    r13
    push    r14
    mov     r12, rsi
    lea     r13, [rdx - 1]              ; room left
    mov     r14, rsi
    mov     esi, O_RDONLY | O_CLOEXEC
    xor     edx, edx
    SYSCALL SYS_open
    test    rax, rax
    js      .failed
    mov     ebx, eax
.more:
    mov     edi, ebx
    mov     rsi, r12
    mov     rdx, r13
    SYSCALL SYS_read
    test    rax, rax
    jle     .end                        ; the end, no room, or an error: what there is counts
    add     r12, rax
    sub     r13, rax
    jmp     .more
.end:
    mov     byte [r12], 0
    mov     edi, ebx
    SYSCALL SYS_close
    mov     rax, r12
    sub     rax, r14
    clc
    jmp     .return
.failed:
    stc
.return:
    pop     r14
    pop     r13
    pop     r12
    pop     rbx
    ret

; file_kind: rdi -> path  ->  eax = S_IFREG, S_IFDIR or another kind; or CF, rax = -errno
file_kind:
    sub     rsp, STAT_BYTES + 8
    mov     rsi, rsp
    SYSCALL SYS_stat
    mov     ecx, [rsp + STAT_MODE]
    add     rsp, STAT_BYTES + 8
    test    rax, rax
    js      .failed
    mov     eax, ecx
    and     eax, S_IFMT
    ret
.failed:
    stc
    ret
