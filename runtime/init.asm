; init.asm: the first values of the parameters. Tensor t of the checkpoint draws from stream t, in canonical order.
;
; A thread draws a chunk of values at a time, in canonical order, and copies it to its place run by run. A value depends
; on its index alone, so it is the same whichever thread draws it.

%include "common.inc"
%include "model.inc"
%include "philox.inc"

extern machine_run, philox_start, philox_fill, tensor_walk, tensor_scatter, run_copy

global tensors_init

CHUNK               equ 256             ; values
NORMAL_WORDS        equ 6               ; of a normal draw, two halves each

struc drawing                           ; what a thread draws with; on its stack
    .philox         resb philox_size
    .words          resd CHUNK * NORMAL_WORDS   ; drawn, then turned into the integers that the values are multiples of
    .values         resq CHUNK
    .first          resq 1              ; canonical index of the first value; a chunk begins at a multiple of CHUNK
    .integers       resq 1              ; -> uniform or normal
    .factor         resq 1              ; float64: a value is so many times its integer
    .stack          resq 1              ; the caller's stack pointer
endstruc

section .rodata
align 16
ones:               times 4 dd 1
minus_two_to_24:    times 4 dd -(1 << 24)
sign_of_halves:     times 8 dw 0x8000
one_of_halves:      times 8 dw 1
one:                dq 1.0
two_to_minus_24:    dq 0x3e70000000000000
two_to_minus_16:    dq 0x3ef0000000000000

section .text

; tensors_init: fills all tensors; the arena is zeros
tensors_init:
    lea     rdi, [fill_shares]
    jmp     machine_run

; fill_shares: r12d = this thread, r13d = threads. rbx -> tensor, r14 = its number, rbp -> drawing.
fill_shares:
    push    rbx
    push    rbp
    push    r14
    mov     rax, rsp
    sub     rsp, drawing_size
    and     rsp, -16
    mov     rbp, rsp
    mov     [rbp + drawing.stack], rax
    lea     rbx, [model_tensors]
    xor     r14d, r14d
.tensor:
    movsd   xmm0, [two_to_minus_24]
    lea     rax, [uniform]
    cmp     qword [rbx + tensor.init], INIT_UNIFORM
    je      .draw
    movsd   xmm0, [two_to_minus_16]
    lea     rax, [normal]
    cmp     qword [rbx + tensor.init], INIT_NORMAL
    je      .draw
    movsd   xmm0, [one]
    lea     rax, [constant]
    cmp     qword [rbx + tensor.init], INIT_CONSTANT
    je      .draw
    cmp     qword [rbx + tensor.init], INIT_DATA
    jne     .next                       ; zeros: as the arena is
    mov     rdi, rbx
    mov     rsi, [rbx + tensor.data]
    call    tensor_scatter
    jmp     .next
.draw:
    mulsd   xmm0, [rbx + tensor.scale]  ; exact: a power of two
    movsd   [rbp + drawing.factor], xmm0
    mov     [rbp + drawing.integers], rax
    mov     qword [rbp + drawing.first], -CHUNK
    lea     rdi, [rbp + drawing.philox]
    mov     esi, r14d
    call    philox_start
    mov     rdi, rbx
    lea     rsi, [fill_run]
    mov     rdx, rbp
    call    tensor_walk
.next:
    add     rbx, tensor_size
    inc     r14
    cmp     r14, [model_tensor_count]
    jb      .tensor
    mov     rsp, [rbp + drawing.stack]
    pop     r14
    pop     rbp
    pop     rbx
    ret

; fill_run: of tensor_walk, r8 -> drawing
fill_run:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    mov     rbp, r8
    mov     rbx, rdi                    ; -> the next element
    mov     r12, rsi
    mov     r13, rdx                    ; elements left
    mov     r14, rcx                    ; the next one's index
.piece:
    mov     rax, r14
    sub     rax, [rbp + drawing.first]
    cmp     rax, CHUNK
    jb      .drawn
    call    draw_chunk
    mov     rax, r14
    sub     rax, [rbp + drawing.first]
.drawn:
    mov     r8d, CHUNK                  ; as many as the chunk still has
    sub     r8, rax
    cmp     r8, r13
    cmova   r8, r13
    add     r14, r8
    sub     r13, r8
    mov     rcx, [model_element_bytes]
    imul    rax, rcx
    lea     rdx, [rbp + drawing.values + rax]
    mov     rdi, rbx
    mov     rsi, r12
    mov     rax, r8
    imul    rax, rsi
    add     rbx, rax
    call    run_copy
    test    r13, r13
    jnz     .piece
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

; draw_chunk: rbp -> drawing, r14 = index: the values of its chunk
draw_chunk:
    mov     rdx, r14
    and     rdx, -CHUNK
    mov     [rbp + drawing.first], rdx
    lea     rdi, [rbp + drawing.philox]
    lea     rsi, [rbp + drawing.words]
    call    [rbp + drawing.integers]

    ; value = integer * factor, in float64, then rounded to the dtype
    movddup xmm2, [rbp + drawing.factor]
    lea     rsi, [rbp + drawing.words]
    lea     rdi, [rbp + drawing.values]
    mov     ecx, CHUNK / 4
.four:
    cvtdq2pd xmm0, [rsi]
    cvtdq2pd xmm1, [rsi + 8]
    mulpd   xmm0, xmm2
    mulpd   xmm1, xmm2
    cmp     dword [model_element_bytes], 4
    jne     .float64
    cvtpd2ps xmm0, xmm0
    cvtpd2ps xmm1, xmm1
    movlhps xmm0, xmm1
    movaps  [rdi], xmm0
    add     rdi, 16
    jmp     .stored
.float64:
    movapd  [rdi], xmm0
    movapd  [rdi + 16], xmm1
    add     rdi, 32
.stored:
    add     rsi, 16
    dec     ecx
    jnz     .four
    ret

; constant: rsi -> words, which become 1
constant:
    movdqa  xmm0, [ones]
    mov     ecx, CHUNK / 4
.four:
    movdqa  [rsi], xmm0
    add     rsi, 16
    dec     ecx
    jnz     .four
    ret

; uniform: rdi -> philox, rsi -> words, rdx = index: words become 2u + 1 - 2^24 with u = word >> 8, that is (word >> 7 |
; 1) - 2^24
uniform:
    shr     rdx, 4                      ; the group
    mov     ecx, CHUNK / PHILOX_WORDS
    call    philox_fill                 ; rsi -> behind the words
    movdqa  xmm1, [ones]
    movdqa  xmm2, [minus_two_to_24]
    mov     rcx, -CHUNK * 4
.four:
    movdqa  xmm0, [rsi + rcx]
    psrld   xmm0, 7
    por     xmm0, xmm1
    paddd   xmm0, xmm2
    movdqa  [rsi + rcx], xmm0
    add     rcx, 16
    jnz     .four
    ret

; normal: the same for words 6i .. 6i+5, which become the sum of their halves + 6 - 12 * 2^15. A half with its upper bit
; inverted is, as a signed number, 2^15 less.
normal:
    push    rsi
    imul    rdx, rdx, NORMAL_WORDS
    shr     rdx, 4
    mov     ecx, CHUNK * NORMAL_WORDS / PHILOX_WORDS
    call    philox_fill                 ; rsi -> behind the words
    movdqa  xmm1, [sign_of_halves]
    movdqa  xmm2, [one_of_halves]
    mov     rcx, -CHUNK * NORMAL_WORDS * 4
.halves:
    movdqa  xmm0, [rsi + rcx]
    pxor    xmm0, xmm1
    pmaddwd xmm0, xmm2                  ; the two halves of each word
    movdqa  [rsi + rcx], xmm0
    add     rcx, 16
    jnz     .halves

    pop     rsi
    mov     rdi, rsi                    ; sums take the place of words that are done with
    mov     ecx, CHUNK
.sum:
    mov     eax, [rsi]
    add     eax, [rsi + 4]
    add     eax, [rsi + 8]
    add     eax, [rsi + 12]
    add     eax, [rsi + 16]
    add     eax, [rsi + 20]
    add     eax, 6
    mov     [rdi], eax
    add     rsi, NORMAL_WORDS * 4
    add     rdi, 4
    dec     ecx
    jnz     .sum
    ret
