; phase.asm: a number of steps as work for the device. Before they start, what each needs besides its samples is put
; into its row, by the same code that computes it on a CPU; while they run, the results of those that are done are
; scored, in their order.

%include "common.inc"
%include "model.inc"
%include "split.inc"
%include "c.inc"

extern opt_seed, epoch, epoch_steps, arena, batch_fill, batch_head, batch_score, optimizer_step
extern step_rows, step_results, result_bytes    ; memory of the host that the device copies from and to; steps.cuh

global phase_begin, phase_wait

struc row                               ; StepRow in steps.cuh
    .head           resb 16             ; of the loss block
    .hyper          resb 24
    .random         resb 16             ; the seed, the step's number
    .unused         resb 8
endstruc

section .bss
samples_of:         resq 1              ; -> split
samples_order:      resq 1              ; -> u32 sample[], or 0: they are consecutive
samples_first:      resq 1
samples_end:        resq 1
scored:             resq 1              ; steps

section .text

; phase_begin: rdi -> split, rsi -> u32 order (0: consecutive samples), rdx = first, rcx = end, r8 = steps, r9 = 1 where
; they learn, 0 where they only look
phase_begin:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    mov     [samples_of], rdi
    mov     [samples_order], rsi
    mov     [samples_first], rdx
    mov     [samples_end], rcx
    mov     qword [scored], 0
    mov     rbx, [step_rows]
    mov     rbp, rdx
    mov     r12, r8
    mov     r13, r9
    mov     r14, r8
.row:
    call    present
    add     rbp, rcx
    call    batch_head
    test    r13, r13
    jz      .copy
    call    optimizer_step
.copy:
    mov     rax, [arena]
    mov     rcx, rax
    add     rax, [model_loss]
    add     rcx, [model_hyper]
    movups  xmm0, [rax]
    movups  xmm1, [rcx]
    mov     rdx, [rcx + 16]
    movups  [rbx + row.head], xmm0
    movups  [rbx + row.hyper], xmm1
    mov     [rbx + row.hyper + 16], rdx
    mov     rax, [opt_seed]
    mov     [rbx + row.random], rax
    mov     rax, [epoch]
    imul    rax, [epoch_steps]
    add     rax, r12
    sub     rax, r14
    mov     [rbx + row.random + 8], rax
    add     rbx, row_size
    dec     r14
    jnz     .row
    mov     rdi, [samples_of]
    mov     rsi, [samples_order]
    mov     rdx, [samples_first]
    mov     rcx, [samples_end]
    mov     r8, r12
    mov     r9, r13
    CALL_C  phase_start
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; present: rbp = first sample of a batch  ->  rcx = how many it has
present:
    mov     rcx, [samples_end]
    sub     rcx, rbp
    cmp     rcx, [model_batch]
    cmova   rcx, [model_batch]
    ret

; phase_wait: rdi -> score. Waits until more steps are done, and adds them.
;   ->  rax = steps in the score, no more than before where a signal ended the phase; CF where the last one's sum is not
;   finite
phase_wait:
    push    rbx
    push    rbp
    push    r12
    push    r13
    mov     r12, rdi
    CALL_C  phase_advance
    mov     rbx, rax
.step:
    cmp     [scored], rbx
    jae     .all
    mov     rbp, [scored]
    imul    rbp, [model_batch]
    add     rbp, [samples_first]
    call    present
    mov     r13, rcx
    mov     rdi, [samples_of]
    mov     rsi, [samples_order]
    mov     rdx, rbp
    call    batch_fill                  ; the labels; the device has its own
    mov     rsi, [scored]
    imul    rsi, [result_bytes]
    add     rsi, [step_results]
    mov     rdi, [arena]
    add     rdi, [model_losses]
    mov     rcx, [result_bytes]
    rep     movsb
    inc     qword [scored]
    mov     rdi, r12
    mov     rsi, r13
    call    batch_score
    jnc     .step
    jmp     .return
.all:
    clc
.return:
    mov     rax, [scored]
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
