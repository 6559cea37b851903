; pack.asm: between a canonical tensor (PyTorch's shape, row-major) and its packed place in the arena. Consecutive
; canonical elements mostly lie in the arena at one distance, as far as the last of the tensor's dims goes: a run. What
; is done with a tensor is done run by run.
;
; All threads take part (machine_run): r12d = this thread, r13d = threads. Each has its share of the outermost
; dimension.

%include "common.inc"
%include "model.inc"

extern arena

global tensor_walk, tensor_scatter, tensor_gather, run_copy

struc walk_frame                        ; what all levels of a walk share
    .visit          resq 1
    .context        resq 1
    .index          resq 1              ; canonical index of the next run's first element
    .last           resq 1              ; -> the innermost dim
endstruc

section .text

; tensor_walk: rdi -> tensor, rsi -> function, rdx = context, r12d r13d: calls the function for every run of this
; thread's
; share, in canonical order, with  rdi -> packed element, rsi = bytes from an element to the next, rdx = elements,
; rcx = canonical index of the first, r8 = context.
tensor_walk:
    push    rbx
    push    rbp
    sub     rsp, walk_frame_size
    mov     rbp, rsp
    mov     [rbp + walk_frame.visit], rsi
    mov     [rbp + walk_frame.context], rdx
    mov     rbx, [rdi + tensor.dims]
    imul    rax, [rbx], dim_size
    add     rbx, 8
    lea     rax, [rbx + rax - dim_size]
    mov     [rbp + walk_frame.last], rax

    mov     rax, [rbx + dim.extent]     ; the share: [extent * thread / threads, extent * (thread + 1) / threads)
    mul     r12
    div     r13
    mov     rsi, rax
    lea     rax, [r12 + 1]
    mul     qword [rbx + dim.extent]
    div     r13
    mov     rcx, rax
    sub     rcx, rsi
    jz      .done                       ; fewer indices than threads

    mov     rax, [rdi + tensor.elements]
    xor     edx, edx
    div     qword [rbx + dim.extent]
    imul    rax, rsi
    mov     [rbp + walk_frame.index], rax
    mov     rdx, [rdi + tensor.offset]
    add     rdx, [arena]
    mov     rdi, rbx
    call    walk
.done:
    add     rsp, walk_frame_size
    pop     rbp
    pop     rbx
    ret

; walk: rdi -> dim, indices [rsi, rsi + rcx) of it, rdx -> element 0 of it and of all behind, rbp -> walk_frame
walk:
    push    rbx
    push    r12
    push    r13
    push    r14
    push    r15
    mov     rbx, rdi
    mov     r12, rdx                    ; the block
    mov     r13, rdx                    ; the element
    mov     r14, rcx                    ; indices left
    mov     r15, [rbx + dim.block]      ; of them in the block
    test    rsi, rsi
    jz      .at_first
    mov     rax, rsi
    xor     edx, edx
    div     r15
    imul    rax, [rbx + dim.outer]
    add     r12, rax
    sub     r15, rdx
    imul    rdx, [rbx + dim.inner]
    lea     r13, [r12 + rdx]
.at_first:
    cmp     rbx, [rbp + walk_frame.last]
    je      .runs

.next:
    lea     rdi, [rbx + dim_size]
    xor     esi, esi
    mov     rcx, [rdi + dim.extent]
    mov     rdx, r13
    call    walk
    add     r13, [rbx + dim.inner]
    dec     r15
    jnz     .same_block
    mov     r15, [rbx + dim.block]
    add     r12, [rbx + dim.outer]
    mov     r13, r12
.same_block:
    dec     r14
    jnz     .next
    jmp     .return

    ; The innermost dim: what is left of each block is a run, and all of it where blocks are single elements.
.runs:
    mov     rsi, [rbx + dim.inner]
    mov     rdx, r15
    cmp     rdx, r14
    cmova   rdx, r14
    cmp     qword [rbx + dim.block], 1
    jne     .run
    mov     rsi, [rbx + dim.outer]
    mov     rdx, r14
.run:
    mov     rdi, r13
    mov     rcx, [rbp + walk_frame.index]
    add     [rbp + walk_frame.index], rdx
    sub     r14, rdx
    mov     r8, [rbp + walk_frame.context]
    call    [rbp + walk_frame.visit]
    mov     r15, [rbx + dim.block]
    add     r12, [rbx + dim.outer]
    mov     r13, r12
    test    r14, r14
    jnz     .runs
.return:
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbx
    ret

; tensor_scatter: rdi -> tensor, rsi -> its canonical elements, which are packed; r12d r13d
tensor_scatter:
    mov     rdx, rsi
    lea     rsi, [scatter_run]
    jmp     tensor_walk

; tensor_gather: rdi -> tensor, rsi -> memory for its canonical elements; r12d r13d
tensor_gather:
    mov     rdx, rsi
    lea     rsi, [gather_run]
    jmp     tensor_walk

; scatter_run: of tensor_walk, r8 -> canonical elements
scatter_run:
    mov     rax, [model_element_bytes]
    imul    rcx, rax
    add     rcx, r8
    mov     r8, rdx
    mov     rdx, rcx
    mov     rcx, rax
    jmp     run_copy

; gather_run: of tensor_walk, r8 -> memory for canonical elements
gather_run:
    mov     rax, [model_element_bytes]
    imul    rcx, rax
    add     r8, rcx                     ; the target
    mov     rcx, rsi
    mov     rsi, rax
    mov     rax, rdx
    mov     rdx, rdi
    mov     rdi, r8
    mov     r8, rax

; run_copy: rdi -> target, rsi = bytes from an element to the next, rdx -> source, rcx = the same there, r8 = elements.
; Keeps all but rax rdx rdi r8-r10 xmm0.
run_copy:
    mov     rax, [model_element_bytes]
    cmp     rsi, rcx
    jne     .apart
    cmp     rsi, rax
    je      .vectors
.apart:
    lea     r9, [rsi * 3]
    lea     r10, [rcx * 3]
    cmp     eax, 4
    jne     .float64

%macro COPY_APART 1.nolist              ; eax or rax
%%four:
    sub     r8, 4
    jb      %%rest
    mov     %1, [rdx]
    mov     [rdi], %1
    mov     %1, [rdx + rcx]
    mov     [rdi + rsi], %1
    mov     %1, [rdx + rcx * 2]
    mov     [rdi + rsi * 2], %1
    mov     %1, [rdx + r10]
    mov     [rdi + r9], %1
    lea     rdx, [rdx + rcx * 4]
    lea     rdi, [rdi + rsi * 4]
    jmp     %%four
%%rest:
    add     r8, 4
    jz      %%done
%%one:
    mov     %1, [rdx]
    mov     [rdi], %1
    add     rdx, rcx
    add     rdi, rsi
    dec     r8
    jnz     %%one
%%done:
    ret
%endmacro

    COPY_APART eax
.float64:
    COPY_APART rax

.vectors:
    imul    r8, rax                     ; bytes
.vector:
    sub     r8, 16
    jb      .tail
    movups  xmm0, [rdx]
    movups  [rdi], xmm0
    add     rdx, 16
    add     rdi, 16
    jmp     .vector
.tail:
    add     r8, 16
    jz      .copied
.word:
    mov     eax, [rdx + r8 - 4]
    mov     [rdi + r8 - 4], eax
    sub     r8, 4
    jnz     .word
.copied:
    ret
