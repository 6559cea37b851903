; init.asm: the first values of the parameters. Tensor t of the checkpoint draws from stream t, in canonical order.

%include "common.inc"
%include "model.inc"

extern philox_start, philox_word, tensor_walk

global tensors_init

HALVES              equ 12              ; 16-bit halves in a normal draw
NORMAL_SHIFT        equ 6 - HALVES * (1 << 15)

section .rodata
align 8
two_to_minus_24:    dq 0x3e70000000000000
two_to_minus_16:    dq 0x3ef0000000000000

section .bss
current:            resq 1              ; -> the tensor that is being filled

section .text

tensors_init:
    push    rbx
    push    r12
    push    r13
    lea     rbx, [model_tensors]
    mov     r12, [model_tensor_count]
    xor     r13d, r13d
.tensor:
    cmp     r13, r12
    jae     .done
    mov     edi, r13d
    call    philox_start
    mov     [current], rbx
    lea     rsi, [uniform]
    cmp     qword [rbx + tensor.init], INIT_UNIFORM
    je      .walk
    lea     rsi, [normal]
    cmp     qword [rbx + tensor.init], INIT_NORMAL
    je      .walk
    lea     rsi, [copy]
    cmp     qword [rbx + tensor.init], INIT_DATA
    jne     .next                       ; zeros: as the arena is
.walk:
    mov     rdi, rbx
    call    tensor_walk
.next:
    add     rbx, tensor_size
    inc     r13
    jmp     .tensor
.done:
    pop     r13
    pop     r12
    pop     rbx
    ret

; uniform: rdi -> element, rsi = index. u = word >> 8, value = (2u + 1 - 2^24) * 2^-24 * scale
uniform:
    push    rdi
    mov     rdi, rsi
    call    philox_word
    pop     rdi
    shr     eax, 8
    lea     eax, [rax * 2 + 1 - (1 << 24)]
    cvtsi2sd xmm0, eax
    mulsd   xmm0, [two_to_minus_24]
    jmp     scale_and_store

; normal: rdi -> element, rsi = index. z = (sum of the halves of words 6i .. 6i+5, + 6 - 12 * 2^15) / 2^16, value = z * scale
normal:
    push    rbx
    push    rbp
    push    rdi
    imul    rdi, rsi, HALVES / 2
    mov     ebx, NORMAL_SHIFT
    mov     ebp, HALVES / 2
.word:
    call    philox_word
    movzx   ecx, ax
    shr     eax, 16
    add     ebx, ecx
    add     ebx, eax
    inc     rdi
    dec     ebp
    jnz     .word
    cvtsi2sd xmm0, ebx
    mulsd   xmm0, [two_to_minus_16]
    pop     rdi
    pop     rbp
    pop     rbx

; scale_and_store: rdi -> element, xmm0 = value for scale 1
scale_and_store:
    mov     rax, [current]
    mulsd   xmm0, [rax + tensor.scale]
    cmp     qword [model_element_bytes], 4
    je      .float32
    movsd   [rdi], xmm0
    ret
.float32:
    cvtsd2ss xmm0, xmm0
    movss   [rdi], xmm0
    ret

; copy: rdi -> element, rsi = index. The element of the tensor's own file.
copy:
    mov     rax, [current]
    mov     rax, [rax + tensor.data]
    cmp     qword [model_element_bytes], 4
    je      .float32
    mov     rax, [rax + rsi * 8]
    mov     [rdi], rax
    ret
.float32:
    mov     eax, [rax + rsi * 4]
    mov     [rdi], eax
    ret
