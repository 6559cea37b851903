; train.asm: the epochs. Each shuffles, steps through the batches, then is judged on the validation split, or on the
; test set where the model has none.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"
%include "score.inc"

extern opt_epochs, opt_batch_limit, signal_number
extern test_split, train_count, validation_split, validation_begin, validation_end
extern order_open, optimizer_open, optimizer_decay, epoch_run, evaluate, report_epoch, log_epoch

global train, training, epoch, steps, epoch_steps, epoch_nanoseconds, evaluation_nanoseconds, tested

section .bss
training:           resb score_size     ; of the epoch so far
epoch:              resq 1              ; from 0
steps:              resq 1              ; done in this epoch
epoch_steps:        resq 1              ; in every epoch
epoch_nanoseconds:  resq 1              ; that training took, without the evaluation
evaluation_nanoseconds: resq 1          ; that the last evaluation took
tested:             resq 1              ; 1: `evaluation` is that of the whole test set with the final parameters

section .text

; train: all epochs; returns early, after a whole step, where a signal came
train:
    push    rbx
    call    order_open
    call    optimizer_open
    mov     rax, [train_count]
    add     rax, [model_batch]
    dec     rax
    xor     edx, edx
    div     qword [model_batch]
    cmp     rax, [opt_batch_limit]
    cmova   rax, [opt_batch_limit]
    mov     [epoch_steps], rax
    mov     rdx, rax
    imul    rax, [model_batch]
    sub     rax, [train_count]
    jbe     .epoch                      ; the last batch is full
    mov     rcx, [model_batch]
    sub     rcx, rax                    ; its samples
    dec     rdx                         ; the batches before it
    cmp     rcx, [model_least_present]
    jb      .too_few
.epoch:
    mov     rax, [epoch]
    cmp     rax, [opt_epochs]
    jae     .done
    call    epoch_run
    cmp     dword [signal_number], 0
    jne     .done
    call    judge
    cmp     dword [signal_number], 0
    jne     .done
    call    report_epoch
    call    log_epoch
    call    optimizer_decay
    inc     qword [epoch]
    jmp     .epoch
.done:
    pop     rbx
    ret
.too_few:
    FAIL    EXIT_FAILED, \
            "the last batch has %u sample, BatchNorm needs %u: take another batch_size than %u, or --batch-limit %u", \
            rcx, [model_least_present], [model_batch], rdx

; judge: the accuracy after an epoch
judge:
    mov     rdi, [validation_split]
    mov     rsi, [validation_begin]
    mov     rdx, [validation_end]
    test    rdi, rdi
    jnz     evaluate
    lea     rdi, [test_split]
    xor     esi, esi
    mov     rdx, [test_split + split.count]
    mov     rax, [epoch]
    inc     rax
    cmp     rax, [opt_epochs]
    jne     evaluate
    mov     qword [tested], 1
    jmp     evaluate
