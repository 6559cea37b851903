; report.asm: the lines a person reads: the first, one an epoch, the progress within an epoch, and the result.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern opt_quiet, opt_epochs, opt_eval, opt_save, signal_number, clock_now, process_exit, evaluate, evaluation
extern test_split, train_count, validation_split, validation_begin, validation_end
extern machine_describe, training, epoch, steps, epoch_steps, epoch_nanoseconds, evaluation_nanoseconds, tested
extern class_names, class_width

global report_open, report_summary, report_epoch, report_progress_start, report_progress, progress_clear, test_report
global interrupted_report

TCGETS              equ 0x5401
TERMIOS_BYTES       equ 64
PROGRESS_INTERVAL   equ 200000000       ; nanoseconds
NAME_BYTES          equ 40
SIGNAL_EXIT         equ 128
NANOSECONDS         equ 1000000000

section .rodata
validation_label:   db "  val", 0
test_label:         db "  test", 0

section .bss
progress_fd:        resq 1              ; a terminal, or 0
progress_shown:     resq 1              ; 1: a line without its end is on the terminal
progress_start:     resq 1              ; when the epoch started
progress_next:      resq 1              ; when the next line is due
epochs_width:       resq 1              ; digits of the number of epochs
steps_width:        resq 1

section .text

; report_open: progress goes to standard error, or standard output, whichever is a terminal
report_open:
    push    rbx
    cmp     qword [opt_quiet], 0
    jne     .return
    mov     ebx, STDERR
.try:
    sub     rsp, TERMIOS_BYTES
    mov     edi, ebx
    mov     esi, TCGETS
    mov     rdx, rsp
    SYSCALL SYS_ioctl
    add     rsp, TERMIOS_BYTES
    test    rax, rax
    jz      .terminal
    dec     ebx
    jnz     .try
    jmp     .return
.terminal:
    mov     [progress_fd], rbx
.return:
    pop     rbx
    ret

; report_summary: the first line
report_summary:
    cmp     qword [opt_quiet], 0
    jne     .return
    FORMAT  "%s  %u parameters  %s  %s  batch %u  train %u", \
            model_name, [model_parameters], model_dtype, model_isa, [model_batch], [train_count]
    cmp     qword [validation_split], 0
    je      .rest
    mov     rax, [validation_end]
    sub     rax, [validation_begin]
    FORMAT  "  val %u", rax
.rest:
    FORMAT  "  test %u  arena %m MB  ", [test_split + split.count], [model_arena_bytes]
    call    machine_describe
    SAY     `\n`
.return:
    ret

; digits: rax = number  ->  ecx = how many digits it has
digits:
    mov     r8d, 10
    xor     ecx, ecx
.next:
    xor     edx, edx
    div     r8
    inc     ecx
    test    rax, rax
    jnz     .next
    ret

; rate: rax = samples, rcx = nanoseconds  ->  rax = samples a second
rate:
    mov     edx, NANOSECONDS
    mul     rdx
    test    rcx, rcx
    jz      .return
    div     rcx
.return:
    ret

; report_epoch: what `training` and `evaluation` say
report_epoch:
    push    rbx
    cmp     qword [opt_quiet], 0
    jne     .return
    call    progress_clear
    mov     rax, [opt_epochs]
    call    digits
    mov     eax, ecx
    mov     rbx, [epoch]
    inc     rbx
    FORMAT  "epoch %w/%u", rax, rbx, [opt_epochs]
    movsd   xmm0, [training + score.loss]
    cvtsi2sd xmm1, qword [training + score.seen]
    divsd   xmm0, xmm1
    movq    rax, xmm0
    FORMAT  "  loss %f  train %p", rax, [training + score.right], [training + score.seen]
    lea     rbx, [validation_label]
    cmp     qword [validation_split], 0
    jne     .judged
    lea     rbx, [test_label]
.judged:
    FORMAT  "%s %p", rbx, [evaluation + score.right], [evaluation + score.seen]
    mov     rax, [training + score.seen]
    mov     rcx, [epoch_nanoseconds]
    call    rate
    FORMAT  "  %u samples/s", rax
    mov     rax, [evaluation + score.seen]
    mov     rcx, [evaluation_nanoseconds]
    call    rate
    SAY     `  evaluation %u samples/s\n`, rax
.return:
    pop     rbx
    ret

report_progress_start:
    cmp     qword [progress_fd], 0
    je      .return
    call    clock_now
    mov     [progress_start], rax
    add     rax, PROGRESS_INTERVAL
    mov     [progress_next], rax
    mov     rax, [opt_epochs]
    call    digits
    mov     [epochs_width], rcx
    mov     rax, [epoch_steps]
    call    digits
    mov     [steps_width], rcx
.return:
    ret

; report_progress: the line within an epoch, where one is due
report_progress:
    push    rbx
    push    rbp
    cmp     qword [progress_fd], 0
    je      .return
    call    clock_now
    cmp     rax, [progress_next]
    jb      .return
    mov     rcx, rax
    add     rax, PROGRESS_INTERVAL
    mov     [progress_next], rax
    sub     rcx, [progress_start]
    mov     rax, [training + score.seen]
    call    rate
    mov     rbp, rax
    mov     rbx, [epoch]
    inc     rbx
    movsd   xmm0, [training + score.loss]
    cvtsi2sd xmm1, qword [training + score.seen]
    divsd   xmm0, xmm1
    movq    rax, xmm0
    FORMAT  `\repoch %w/%u  step %w/%u  loss %f  %u samples/s\e[K`, [epochs_width], rbx, [opt_epochs], \
            [steps_width], [steps], [epoch_steps], rax, rbp
    mov     edi, [progress_fd]
    call    print_flush
    mov     qword [progress_shown], 1
.return:
    pop     rbp
    pop     rbx
    ret

; progress_clear: takes the progress line away
progress_clear:
    cmp     qword [progress_shown], 0
    je      .return
    mov     qword [progress_shown], 0
    FORMAT  `\r\e[K`
    mov     edi, [progress_fd]
    call    print_flush
.return:
    ret

; test_report: tests, unless the last epoch did, and prints the accuracy of each class and of all
test_report:
    push    rbx
    push    rbp
    cmp     qword [tested], 0
    jne     .tested
    lea     rdi, [test_split]
    xor     esi, esi
    mov     rdx, [test_split + split.count]
    call    evaluate
    cmp     dword [signal_number], 0
    jne     .return
.tested:
    call    progress_clear
    cmp     qword [opt_quiet], 0
    jne     .overall
    xor     ebx, ebx
    lea     rbp, [class_names]
.class:
    FORMAT  "class "
    cmp     qword [class_width], 0
    je      .number
    FORMAT  "%l", [class_width], rbp
    jmp     .accuracy
.number:
    mov     rax, [model_classes]
    dec     rax
    call    digits
    mov     eax, ecx
    FORMAT  "%w", rax, rbx
.accuracy:
    lea     rax, [evaluation + score.class_right]
    mov     rax, [rax + rbx * 8]
    lea     rcx, [evaluation + score.class_seen]
    mov     rcx, [rcx + rbx * 8]
    SAY     `  accuracy %p (%u/%u)\n`, rax, rcx, rax, rcx
    add     rbp, NAME_BYTES
    inc     rbx
    cmp     rbx, [model_classes]
    jb      .class
.overall:
    mov     rax, [evaluation + score.right]
    mov     rcx, [evaluation + score.seen]
    SAY     `test accuracy %p (%u/%u)\n`, rax, rcx, rax, rcx
.return:
    pop     rbp
    pop     rbx
    ret

; interrupted_report: a signal asked to stop; says how far it went, and exits
interrupted_report:
    call    progress_clear
    mov     ebx, [signal_number]
    FORMAT  "trainer: stopped by signal %u ", rbx
    mov     rax, [epoch]
    cmp     rax, [opt_epochs]
    jae     .testing
    cmp     qword [opt_eval], 0
    jne     .testing
    inc     rax
    FORMAT  "in epoch %u after step %u; ", rax, [steps]
    jmp     .saved
.testing:
    FORMAT  "while testing; "
.saved:
    mov     rax, [opt_save]
    test    rax, rax
    jz      .not_saved
    FORMAT  `the weights are in %s\n`, rax
    jmp     .exit
.not_saved:
    FORMAT  `nothing was saved\n`
.exit:
    mov     edi, STDERR
    call    print_flush
    lea     edi, [rbx + SIGNAL_EXIT]
    jmp     process_exit
