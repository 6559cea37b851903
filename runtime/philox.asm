; philox.asm: the counter-based random numbers, Philox4x32-10 (Salmon et al., SC11).
;
; key = the seed; counter = (index low, index high, stream, 0). Word i of a stream is word i % 4 of block i / 4.
; asmgen/reference/random.py draws the same numbers.

%include "common.inc"

extern opt_seed

global philox_start, philox_word

MULTIPLIER_0        equ 0xd2511f53
MULTIPLIER_1        equ 0xcd9e8d57
WEYL_0              equ 0x9e3779b9
WEYL_1              equ 0xbb67ae85
ROUNDS              equ 10

section .bss
block:              resq 1              ; index of the block in `words`; -1: none
words:              resd 4
stream:             resd 1

section .text

; philox_start: edi = stream
philox_start:
    mov     [stream], edi
    mov     qword [block], -1
    ret

; philox_word: rdi = index  ->  eax = that word of the stream. Keeps all but rax rcx rdx r8-r11.
philox_word:
    mov     rax, rdi
    shr     rax, 2
    cmp     rax, [block]
    jne     .compute
.have:
    mov     ecx, edi
    and     ecx, 3
    lea     rdx, [words]
    mov     eax, [rdx + rcx * 4]
    ret

; the counter is r8d r9d r10d r11d, the key ebx ebp
.compute:
    push    rbx
    push    rbp
    push    rsi
    mov     [block], rax
    mov     r8d, eax
    mov     r9, rax
    shr     r9, 32
    mov     r10d, [stream]
    xor     r11d, r11d
    mov     ebx, [opt_seed]
    mov     ebp, [opt_seed + 4]
    mov     esi, ROUNDS
.round:
    mov     eax, MULTIPLIER_0
    mul     r8d                         ; edx:eax = hi0:lo0
    xor     edx, r11d
    xor     edx, ebp
    mov     r8d, edx                    ; the next word 2, for now
    mov     r11d, eax                   ; the next word 3
    mov     eax, MULTIPLIER_1
    mul     r10d                        ; edx:eax = hi1:lo1
    mov     r10d, r8d                   ; 2 = hi0 ^ c3 ^ k1
    xor     edx, r9d
    xor     edx, ebx
    mov     r8d, edx                    ; 0 = hi1 ^ c1 ^ k0
    mov     r9d, eax                    ; 1 = lo1
    add     ebx, WEYL_0
    add     ebp, WEYL_1
    dec     esi
    jnz     .round
    mov     [words], r8d
    mov     [words + 4], r9d
    mov     [words + 8], r10d
    mov     [words + 12], r11d
    pop     rsi
    pop     rbp
    pop     rbx
    jmp     .have
