; output.asm: the buffer that lines are put together in, where it goes, and the one-line failure.

%include "common.inc"

extern print_format, progress_clear, temporary_remove, process_exit

global print_used, print_byte, print_text, print_flush, print_take, fail, output_failed

PRINT_BYTES         equ 16384

section .bss
buffer:             resb PRINT_BYTES
print_used:         resq 1
output_failed:      resq 1              ; -errno of the first write to standard output that failed

section .rodata
prefix:             db "trainer: ", 0
newline:            db 10, 0

section .text

; print_byte: al = byte to append (dropped when the buffer is full). Keeps all but r11.
print_byte:
    mov     r11, [print_used]
    cmp     r11, PRINT_BYTES
    jae     .full
    push    rcx
    lea     rcx, [buffer]
    mov     [rcx + r11], al
    pop     rcx
    inc     qword [print_used]
.full:
    ret

; print_text: rdi -> text with a zero at its end. Changes rax rdi r11.
print_text:
    mov     al, [rdi]
    test    al, al
    jz      .done
    call    print_byte
    inc     rdi
    jmp     print_text
.done:
    ret

; print_flush: edi = file descriptor. Writes the buffer and empties it. rax = 0 or -errno; a failure on standard output
; is remembered in output_failed.
print_flush:
    push    rbx
    push    r12
    push    r13
    mov     ebx, edi
    lea     r12, [buffer]
    mov     r13, [print_used]
    mov     qword [print_used], 0
.write:
    test    r13, r13
    jz      .written
    mov     edi, ebx
    mov     rsi, r12
    mov     rdx, r13
    SYSCALL SYS_write
    cmp     rax, -4                     ; EINTR: a signal came before the first byte
    je      .write
    test    rax, rax
    js      .failed
    add     r12, rax
    sub     r13, rax
    jmp     .write
.failed:
    cmp     ebx, STDOUT
    jne     .return
    cmp     qword [output_failed], 0
    jne     .return
    mov     [output_failed], rax
    jmp     .return
.written:
    xor     eax, eax
.return:
    pop     r13
    pop     r12
    pop     rbx
    ret

; print_take: rdi -> PATH_BYTES of memory. Moves the buffer there, cut to fit, with a zero at its end.
print_take:
    mov     rcx, [print_used]
    mov     eax, PATH_BYTES - 1
    cmp     rcx, rax
    cmova   rcx, rax
    lea     rsi, [buffer]
    rep     movsb
    mov     byte [rdi], 0
    mov     qword [print_used], 0
    ret

; fail: rdi -> format, rsi -> arguments, edx = exit code. Prints "trainer: ..." on standard error, leaves nothing
; half-written behind, exits.
fail:
    mov     rbx, rdi
    mov     rbp, rsi
    mov     r12d, edx
    call    progress_clear
    lea     rdi, [prefix]
    call    print_text
    mov     rdi, rbx
    mov     rsi, rbp
    call    print_format
    lea     rdi, [newline]
    call    print_text
    mov     edi, STDERR
    call    print_flush
    call    temporary_remove
    mov     edi, r12d
    jmp     process_exit
