; log.asm: --log FILE: one line of comma-separated values an epoch, for a spreadsheet or a plot.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "score.inc"

extern opt_log, training, evaluation, epoch, epoch_nanoseconds, evaluation_nanoseconds, learning_rate
extern machine_log_columns, machine_log
extern signal_number, print_used

global log_open, log_epoch, log_failed

O_WRONLY            equ 1
O_CREAT             equ 0x40
O_TRUNC             equ 0x200
O_NONBLOCK          equ 0x800
O_CLOEXEC           equ 0x80000
F_SETFL             equ 4
POLLOUT             equ 4
EINTR               equ 4
POLL_MILLISECONDS   equ 100             ; a signal that came just before is seen after so long

section .rodata
align 8
to_seconds:         dq 1.0e9

section .bss
log_fd:             resd 1              ; with log_events a struct pollfd
log_events:         resd 1
alignb 8
log_failed:         resq 1              ; -errno of the first line that could not be written; no more are tried

section .text

log_open:
    mov     rdi, [opt_log]
    test    rdi, rdi
    jz      .return
    ; a pipe that nobody reads is an error, not a wait
    mov     esi, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC
    mov     edx, 0o666
    SYSCALL SYS_open
    test    rax, rax
    js      .failed
    mov     [log_fd], eax
    mov     dword [log_events], POLLOUT
    mov     edi, eax
    mov     esi, F_SETFL
    xor     edx, edx                    ; writes wait again
    SYSCALL SYS_fcntl
    FORMAT  "epoch,loss,train_acc,val_acc,lr,seconds,samples_per_s,evaluated_per_s"
    call    machine_log_columns
    FORMAT  `\n`
    call    log_flush
    test    rax, rax
    js      .failed
.return:
    ret
.failed:
    FAIL    EXIT_FAILED, "cannot write the log %s: %e", [opt_log], rax

; log_epoch: the line of `epoch`; val_acc is that of the test set where the model has no validation split. A full disk
; does not end the training; process_exit reports it.
log_epoch:
    cmp     qword [opt_log], 0
    je      .return
    cmp     qword [log_failed], 0
    jne     .return
    mov     rax, [epoch]
    inc     rax
    FORMAT  "%u,", rax
    movsd   xmm0, [training + score.loss]
    cvtsi2sd xmm1, qword [training + score.seen]
    call    quotient
    lea     rax, [training]
    call    accuracy
    lea     rax, [evaluation]
    call    accuracy
    FORMAT  "%g,", [learning_rate]
    cvtsi2sd xmm0, qword [epoch_nanoseconds]
    movsd   xmm1, [to_seconds]
    call    quotient
    cvtsi2sd xmm0, qword [training + score.seen]
    mulsd   xmm0, [to_seconds]
    cvtsi2sd xmm1, qword [epoch_nanoseconds]
    call    quotient
    cvtsi2sd xmm0, qword [evaluation + score.seen]
    mulsd   xmm0, [to_seconds]
    cvtsi2sd xmm1, qword [evaluation_nanoseconds]
    divsd   xmm0, xmm1
    movq    rax, xmm0
    FORMAT  "%g", rax
    call    machine_log
    FORMAT  `\n`
    call    log_flush
    mov     [log_failed], rax
.return:
    ret

; log_flush: writes the line  ->  rax = 0 or -errno. A pipe that is full is waited for until there is a signal to stop,
; which drops the line: a write that waits would be restarted. A pipe with room takes the whole line.
log_flush:
    lea     rdi, [log_fd]
    mov     esi, 1
    mov     edx, POLL_MILLISECONDS
    SYSCALL SYS_poll
    test    rax, rax
    jz      .full
    cmp     rax, -EINTR
    je      .full
    mov     edi, [log_fd]
    jmp     print_flush
.full:
    cmp     dword [signal_number], 0
    je      log_flush
    mov     qword [print_used], 0
    xor     eax, eax
    ret

; accuracy: rax -> score
accuracy:
    cvtsi2sd xmm0, qword [rax + score.right]
    cvtsi2sd xmm1, qword [rax + score.seen]

; quotient: xmm0 / xmm1 and a comma
quotient:
    divsd   xmm0, xmm1
    movq    rax, xmm0
    FORMAT  "%g,", rax
    ret
