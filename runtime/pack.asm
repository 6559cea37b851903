; pack.asm: from a canonical tensor (PyTorch's shape, row-major) to its packed place in the arena, element by element.

%include "common.inc"
%include "model.inc"

extern arena

global tensor_walk

section .bss
visit:              resq 1
index:              resq 1

section .text

; tensor_walk: rdi -> tensor, rsi -> function(rdi -> packed element, rsi = its canonical index; keeps rbx rbp r12-r15),
; which is called for every element in canonical order.
tensor_walk:
    mov     [visit], rsi
    mov     qword [index], 0
    mov     rdx, [rdi + tensor.offset]
    add     rdx, [arena]
    mov     rdi, [rdi + tensor.dims]
    mov     rsi, [rdi]
    add     rdi, 8

; walk: rdi -> dim, rsi = dims from here on, rdx -> element (0, 0, ...) of them
walk:
    test    rsi, rsi
    jz      .element
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    sub     rsp, 8
    mov     rbx, rdi
    mov     rbp, rsi
    mov     r12, rdx                    ; the block
    mov     r13, rdx                    ; the element
    mov     r14, [rbx + dim.extent]
    mov     r15, [rbx + dim.block]      ; elements left in the block
.next:
    lea     rdi, [rbx + dim_size]
    lea     rsi, [rbp - 1]
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
    add     rsp, 8
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
.element:
    mov     rdi, rdx
    mov     rsi, [index]
    inc     qword [index]
    jmp     [visit]
