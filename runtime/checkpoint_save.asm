; checkpoint_save.asm: --save FILE in safetensors. Written to FILE.tmp.PID, flushed to the disk, then renamed, so that
; FILE is always whole: the old one or the new one, whoever else saves there at the same time.

%include "common.inc"
%include "print.inc"
%include "model.inc"

extern opt_save, file_kind, memory_take, machine_run, tensor_gather

global checkpoint_save, checkpoint_check_path, temporary_remove

O_RDONLY            equ 0
O_WRONLY            equ 1
O_CREAT             equ 0x40
O_EXCL              equ 0x80
O_DIRECTORY         equ 0x10000
O_CLOEXEC           equ 0x80000
S_IFREG             equ 0x8000
EINTR               equ 4
EEXIST              equ 17

section .bss
temporary:          resb PATH_BYTES     ; FILE.tmp.PID
temporary_exists:   resq 1              ; 1: it must go where the program ends now
file_image:         resq 1              ; -> memory for the whole file, taken before the training, too

section .text

; checkpoint_check_path: can FILE be written, and is there memory for it? Asked before a long training, not after it.
checkpoint_check_path:
    mov     rdi, [opt_save]
    test    rdi, rdi
    jz      .return
    call    file_kind
    jc      .create                     ; there is none yet
    cmp     eax, S_IFREG
    jne     .not_a_file
.create:
    call    temporary_create
    mov     edi, eax
    SYSCALL SYS_close
    call    temporary_remove
    mov     rdi, [model_checkpoint_bytes]
    call    memory_take
    mov     [file_image], rax
.return:
    ret
.not_a_file:
    FAIL    EXIT_FAILED, "cannot save to %s: it exists and is not a regular file", [opt_save]

; temporary_create:  ->  eax = descriptor. A name that is taken (by a process with this number in another container, or
; one that was killed) belongs to somebody else: the next number is tried.
temporary_create:
    push    rbx
    SYSCALL SYS_getpid
    mov     ebx, eax
.try:
    FORMAT_PATH temporary, "%s.tmp.%u", [opt_save], rbx
    lea     rdi, [temporary]
    mov     esi, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
    mov     edx, 0o666
    SYSCALL SYS_open
    inc     rbx
    cmp     rax, -EEXIST
    je      .try
    test    rax, rax
    js      .failed
    mov     qword [temporary_exists], 1
    pop     rbx
    ret
.failed:
    FAIL    EXIT_FAILED, "cannot save to %s: cannot create %s: %e", [opt_save], temporary, rax

; temporary_remove: takes FILE.tmp.PID away where there is one
temporary_remove:
    cmp     qword [temporary_exists], 0
    je      .return
    mov     qword [temporary_exists], 0
    lea     rdi, [temporary]
    SYSCALL SYS_unlink
.return:
    ret

save_failed:                            ; rax = -errno
    FAIL    EXIT_FAILED, "cannot save to %s: %e", [opt_save], rax

; checkpoint_save: all tensors, as the model's ready-made header lists them. rbx -> the file in memory, later rbp ->
; what is to be written, r12 = bytes left, r13d = descriptor.
checkpoint_save:
    push    rbx
    push    rbp
    push    r12
    push    r13
    mov     rbx, [file_image]
    mov     rdi, rbx
    lea     rsi, [model_header]
    mov     rcx, [model_header_bytes]
    rep     movsb
    lea     rdi, [gather_shares]
    call    machine_run

    call    temporary_create
    mov     r13d, eax
    mov     rbp, rbx
    mov     r12, [model_checkpoint_bytes]
.write:
    mov     edi, r13d
    mov     rsi, rbp
    mov     rdx, r12
    SYSCALL SYS_write
    cmp     rax, -EINTR
    je      .write
    test    rax, rax
    js      save_failed
    add     rbp, rax
    sub     r12, rax
    jnz     .write
    mov     edi, r13d
    SYSCALL SYS_fsync
    test    rax, rax
    js      save_failed
    mov     edi, r13d
    SYSCALL SYS_close
    test    rax, rax
    js      save_failed
    lea     rdi, [temporary]
    mov     rsi, [opt_save]
    SYSCALL SYS_rename
    test    rax, rax
    js      save_failed
    mov     qword [temporary_exists], 0
    call    sync_directory
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; gather_shares: r12 = this thread, r13 = threads: the packed tensors to the data of the file
gather_shares:
    push    rbx
    push    rbp
    lea     rbx, [model_tensors]
    mov     rbp, [model_tensor_count]
.tensor:
    mov     rsi, [file_image]
    add     rsi, [model_header_bytes]
    add     rsi, [rbx + tensor.file_offset]
    mov     rdi, rbx
    call    tensor_gather
    add     rbx, tensor_size
    dec     rbp
    jnz     .tensor
    pop     rbp
    pop     rbx
    ret

; sync_directory: makes the new name durable. Some file systems cannot, and the file is whole either way: no failure.
sync_directory:
    push    rbx
    FORMAT_PATH temporary, "%s", [opt_save]
    lea     rdi, [temporary]
    xor     ecx, ecx                    ; -> behind the last slash
    mov     rsi, rdi
.next:
    mov     al, [rsi]
    test    al, al
    jz      .cut
    inc     rsi
    cmp     al, '/'
    jne     .next
    mov     rcx, rsi
    jmp     .next
.cut:
    test    rcx, rcx
    jnz     .directory
    mov     byte [rdi], '.'
    lea     rcx, [rdi + 1]
.directory:
    mov     byte [rcx], 0
    mov     esi, O_RDONLY | O_DIRECTORY | O_CLOEXEC
    xor     edx, edx
    SYSCALL SYS_open
    test    rax, rax
    js      .return
    mov     ebx, eax
    mov     edi, eax
    SYSCALL SYS_fsync
    mov     edi, ebx
    SYSCALL SYS_close
.return:
    pop     rbx
    ret
