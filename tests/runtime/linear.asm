; A linear layer with a squared loss, in plain scalar code: the smallest model that the runtime can train. The tests put
; %define lines for BATCH, INPUTS, OUTPUTS, HYPER (which number of the hyper block steps) and ELEMENT (bytes) above this text.
; Weights are packed [inputs / 4][outputs][4], the bias follows.

default rel
global load_input, dense_fwd, squared_loss, dense_dw, update_sgd, copy_rows

%if ELEMENT == 4
    %define MOV     movss
    %define ADD     addss
    %define SUB     subss
    %define MUL     mulss
    %define CONVERT cvtsi2ss
    %define COMPARE ucomiss
    %define T(x)    __?float32?__(x)
    %define DT      dd
%else
    %define MOV     movsd
    %define ADD     addsd
    %define SUB     subsd
    %define MUL     mulsd
    %define CONVERT cvtsi2sd
    %define COMPARE ucomisd
    %define T(x)    __?float64?__(x)
    %define DT      dq
%endif

BLOCKS  equ (INPUTS + 3) / 4
BIAS    equ BLOCKS * OUTPUTS * 4 * ELEMENT
PREDS   equ (64 + BATCH * ELEMENT + 63) / 64 * 64

section .note.GNU-stack noalloc noexec nowrite progbits
section .rodata
align 8
scale:      DT T(0.00390625)
factor:     DT T(2.0)
one:        DT T(1.0)
half:       DT T(0.5)

section .text

; x[n][j] = image[index[n]][j] / 256
load_input:
.n:
    cmp     r8, r9
    jae     .done
    mov     eax, [rsi + r8 * 4]
    imul    rax, rax, INPUTS
    add     rax, rdi
    imul    r10, r8, INPUTS * ELEMENT
    add     r10, rdx
    xor     ecx, ecx
.j:
    movzx   r11d, byte [rax + rcx]
    CONVERT xmm0, r11d
    MUL     xmm0, [scale]
    MOV     [r10 + rcx * ELEMENT], xmm0
    inc     ecx
    cmp     ecx, INPUTS
    jb      .j
    inc     r8
    jmp     .n
.done:
    ret

; packed: rax = input j, rcx = output o -> r11 = offset of the weight
%macro PACKED 0
    mov     r11, rax
    shr     r11, 2
    imul    r11, r11, OUTPUTS
    add     r11, rcx
    shl     r11, 2
    mov     r10, rax
    and     r10, 3
    add     r11, r10
%endmacro

; y[n][o] = b[o] + sum_j w[o][j] x[n][j]; rdi x, rsi w, rdx y
dense_fwd:
    push    rbx
    push    r12
.n:
    cmp     r8, r9
    jae     .done
    imul    rbx, r8, INPUTS * ELEMENT
    add     rbx, rdi
    imul    r12, r8, OUTPUTS * ELEMENT
    add     r12, rdx
    xor     ecx, ecx
.o:
    MOV     xmm0, [rsi + BIAS + rcx * ELEMENT]
    xor     eax, eax
.j:
    PACKED
    MOV     xmm1, [rsi + r11 * ELEMENT]
    MUL     xmm1, [rbx + rax * ELEMENT]
    ADD     xmm0, xmm1
    inc     eax
    cmp     eax, INPUTS
    jb      .j
    MOV     [r12 + rcx * ELEMENT], xmm0
    inc     ecx
    cmp     ecx, OUTPUTS
    jb      .o
    inc     r8
    jmp     .n
.done:
    pop     r12
    pop     rbx
    ret

; loss = sum_o (y - target)^2, dz = 2 (y - target) inv_count; rdi y, rsi labels, rdx dz, rcx loss block
squared_loss:
    push    rbx
    push    rbp
.n:
    cmp     r8, r9
    jae     .done
    imul    r10, r8, OUTPUTS * ELEMENT
    xorps   xmm0, xmm0
    xor     eax, eax
    xor     ebp, ebp                    ; argmax
.o:
    lea     rbx, [rdi + r10]
    MOV     xmm1, [rbx + rax * ELEMENT]
%if OUTPUTS == 1
    COMPARE xmm1, [half]
    seta    bpl
    mov     r11d, [rsi + r8 * 4]
    CONVERT xmm2, r11d
    SUB     xmm1, xmm2
%else
    COMPARE xmm1, [rbx + rbp * ELEMENT]
    cmova   ebp, eax
    cmp     eax, [rsi + r8 * 4]
    jne     .other
    SUB     xmm1, [one]
.other:
%endif
    MOV     xmm2, xmm1
    MUL     xmm2, xmm2
    ADD     xmm0, xmm2
    MUL     xmm1, [factor]
    MUL     xmm1, [rcx]
    mov     r11d, [rcx + 8]
    cmp     r8d, r11d
    jb      .present
    xorps   xmm1, xmm1
    xorps   xmm0, xmm0
.present:
    lea     rbx, [rdx + r10]
    MOV     [rbx + rax * ELEMENT], xmm1
    inc     eax
    cmp     eax, OUTPUTS
    jb      .o
    MOV     [rcx + 64 + r8 * ELEMENT], xmm0
    mov     [rcx + PREDS + r8 * 4], ebp
    inc     r8
    jmp     .n
.done:
    pop     rbp
    pop     rbx
    ret

; dw[o][j] = sum_n dz[n][o] x[n][j], db[o] = sum_n dz[n][o]; rdi x, rsi dz, rdx dw; slice = outputs
dense_dw:
    push    rbx
    mov     rcx, r8
.o:
    cmp     rcx, r9
    jae     .done
    xor     eax, eax
.j:
    xorps   xmm0, xmm0
    xorps   xmm2, xmm2
    xor     ebx, ebx
.n:
    imul    r10, rbx, OUTPUTS * ELEMENT
    add     r10, rsi
    MOV     xmm1, [r10 + rcx * ELEMENT]
    ADD     xmm2, xmm1
    imul    r10, rbx, INPUTS * ELEMENT
    add     r10, rdi
    MUL     xmm1, [r10 + rax * ELEMENT]
    ADD     xmm0, xmm1
    inc     ebx
    cmp     ebx, BATCH
    jb      .n
    PACKED
    MOV     [rdx + r11 * ELEMENT], xmm0
    MOV     [rdx + BIAS + rcx * ELEMENT], xmm2
    inc     eax
    cmp     eax, INPUTS
    jb      .j
    inc     ecx
    jmp     .o
.done:
    pop     rbx
    ret

; w -= hyper[HYPER] * dw; rdi w, rsi dw, rcx hyper; slice = elements
update_sgd:
.next:
    cmp     r8, r9
    jae     .done
    MOV     xmm0, [rsi + r8 * ELEMENT]
    MUL     xmm0, [rcx + HYPER * ELEMENT]
    MOV     xmm1, [rdi + r8 * ELEMENT]
    SUB     xmm1, xmm0
    MOV     [rdi + r8 * ELEMENT], xmm1
    inc     r8
    jmp     .next
.done:
    ret

; dst[i] = src[i]; rdi src, rsi dst: stands for a derived copy of the weights
copy_rows:
.next:
    cmp     r8, r9
    jae     .done
    MOV     xmm0, [rdi + r8 * ELEMENT]
    MOV     [rsi + r8 * ELEMENT], xmm0
    inc     r8
    jmp     .next
.done:
    ret
