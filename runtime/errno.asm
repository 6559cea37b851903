; errno.asm: the errors that the kernel reports for files, memory and threads, in words.

%include "common.inc"

global errno_text

%macro ERRNO 2                          ; number, words
    dw      %1
    db      %2, 0
%endmacro

section .rodata
errors:
    ERRNO   1, "operation not permitted"
    ERRNO   2, "no such file or directory"
    ERRNO   5, "input/output error"
    ERRNO   6, "a pipe that nobody reads; start its reader first"
    ERRNO   9, "the descriptor is closed"
    ERRNO   11, "not available for now (threads: the limit of ulimit -u)"
    ERRNO   12, "out of memory"
    ERRNO   13, "permission denied"
    ERRNO   17, "file exists"
    ERRNO   20, "a part of the path is not a directory"
    ERRNO   21, "is a directory"
    ERRNO   22, "not a regular file, or not a valid name"
    ERRNO   23, "too many open files in the system"
    ERRNO   24, "too many open files"
    ERRNO   26, "file is in use as a program"
    ERRNO   27, "file would be larger than the limit (ulimit -f)"
    ERRNO   28, "no space left on the device"
    ERRNO   30, "read-only file system"
    ERRNO   32, "the reader has gone"
    ERRNO   36, "path is too long"
    ERRNO   40, "too many symbolic links"
    ERRNO   122, "disk quota exceeded"
    dw      0
other:
    db      "system call failed", 0

section .text
; errno_text: rdi = -errno  ->  rax -> text
errno_text:
    neg     rdi
    lea     rax, [errors]
.row:
    movzx   ecx, word [rax]
    test    ecx, ecx
    jz      .other
    add     rax, 2
    cmp     rcx, rdi
    je      .found
.skip:
    inc     rax
    cmp     byte [rax - 1], 0
    jne     .skip
    jmp     .row
.other:
    lea     rax, [other]
.found:
    ret
