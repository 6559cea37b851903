; decimal.asm: between decimal text and float64, in integers, so that every machine gets the same, correctly rounded
; value.
;
; One step does it all: D * 2^b * 10^k becomes M * 2^B with M in [2^63, 2^64), and a flag that says whether anything
; lies below the last bit of M. 10^k = 5^k * 2^k, and 5^27 is the last power that fits in 64 bits, so |k| <= 27 is
; exact; beyond that each further step loses less than 2^-63 of the value.

%include "common.inc"

global decimal_parse, decimal_scale, decimal_round

POWERS              equ 27
; As many as surely fit in 64 bits; later ones are below the precision of float64.
MAX_DIGITS          equ 19
MAX_EXPONENT        equ 99

section .rodata
align 8
powers_of_5:
%assign power 1
%rep POWERS + 1
    dq      power
    %assign power power * 5
%endrep

section .text

; decimal_scale: rax = D (not 0), ecx = b, edx = k  ->  rax = M, ecx = B, edx = 1 if something was below M, else 0
decimal_scale:
    mov     r8d, ecx                    ; the binary exponent
    mov     r9d, edx                    ; what is left of the decimal exponent
    xor     r10d, r10d                  ; anything below?
    bsr     rcx, rax
    xor     ecx, 63
    shl     rax, cl
    sub     r8d, ecx
.step:
    test    r9d, r9d
    jz      .done
    js      .divide

    mov     ecx, POWERS
    cmp     ecx, r9d
    cmovg   ecx, r9d
    sub     r9d, ecx
    add     r8d, ecx
    lea     r11, [powers_of_5]
    mul     qword [r11 + rcx * 8]       ; rdx:rax, rdx > 0 as M has its top bit
    bsr     rcx, rdx
    xor     ecx, 63
    shld    rdx, rax, cl
    shl     rax, cl
    add     r8d, 64
    sub     r8d, ecx
    neg     rax                         ; CF where bits were left
    adc     r10d, 0
    mov     rax, rdx
    jmp     .step

.divide:
    mov     ecx, r9d
    neg     ecx
    mov     edx, POWERS
    cmp     ecx, edx
    cmovg   ecx, edx
    add     r9d, ecx
    sub     r8d, ecx
    lea     r11, [powers_of_5]
    mov     r11, [r11 + rcx * 8]
    bsr     rcx, r11
    xor     ecx, 63
    shl     r11, cl                     ; both have bit 63 now, so the quotient below has 64 bits exactly
    add     r8d, ecx
    sub     r8d, 64
    mov     rdx, rax
    xor     eax, eax
    cmp     rdx, r11
    jb      .quotient
    shr     rdx, 1
    rcr     rax, 1
    inc     r8d
.quotient:
    div     r11
    neg     rdx
    adc     r10d, 0
    jmp     .step

.done:
    mov     ecx, r8d
    xor     edx, edx
    test    r10d, r10d
    setnz   dl
    ret

; decimal_round: rax = M, ecx = B, edx = flag, as decimal_scale gives  ->  rax = the nearest whole number (ties to
; even);
; CF where it needs more than 63 bits.
decimal_round:
    neg     ecx
    cmp     ecx, 1
    jl      .large
    cmp     ecx, 64
    ja      .zero
    je      .below_one
    mov     r8d, 1
    dec     ecx
    shl     r8, cl                      ; one half
    inc     ecx
    lea     r9, [r8 * 2 - 1]
    and     r9, rax                     ; the fraction
    shr     rax, cl
    jmp     .compare
.below_one:
    mov     r8, 1 << 63
    mov     r9, rax
    xor     eax, eax
.compare:
    cmp     r9, r8
    jb      .down
    ja      .up
    test    edx, edx
    jnz     .up
    test    al, 1
    jz      .down
.up:
    inc     rax
.down:
    clc
    ret
.zero:
    xor     eax, eax
    ret
.large:
    stc
    ret

; decimal_parse: rdi -> text such as 0.01, 1e-3, 5  ->  rax = float64 bits (0 or more); CF where it is not a number, has
; a minus sign, or an exponent beyond 99.
decimal_parse:
    push    rbx
    xor     eax, eax                    ; the digits, as a whole number
    xor     ebx, ebx                    ; how many of them count (leading zeros do not)
    xor     ecx, ecx                    ; the decimal exponent
    xor     r8d, r8d                    ; 1 behind the point
    xor     r9d, r9d                    ; 1 once there was a digit
    cmp     byte [rdi], '+'
    jne     .digit
    inc     rdi
.digit:
    movzx   edx, byte [rdi]
    inc     rdi
    cmp     edx, '.'
    je      .point
    sub     edx, '0'
    cmp     edx, 9
    ja      .end_of_digits
    mov     r9d, 1
    cmp     ebx, MAX_DIGITS
    jae     .beyond
    imul    rax, rax, 10
    add     rax, rdx
    sub     ecx, r8d
    cmp     rax, 1                      ; CF where it is still 0
    sbb     ebx, -1
    jmp     .digit
.beyond:
    inc     ecx
    sub     ecx, r8d
    jmp     .digit
.point:
    test    r8d, r8d
    jnz     .bad
    mov     r8d, 1
    jmp     .digit

.end_of_digits:
    test    r9d, r9d
    jz      .bad
    add     edx, '0'
    jz      .convert
    or      edx, 0x20
    cmp     edx, 'e'
    jne     .bad
    xor     r8d, r8d                    ; 1 where the exponent is negative
    xor     r9d, r9d                    ; the exponent
    cmp     byte [rdi], '+'
    je      .exponent_sign
    cmp     byte [rdi], '-'
    jne     .exponent
    inc     r8d
.exponent_sign:
    inc     rdi
.exponent:
    movzx   edx, byte [rdi]
    sub     edx, '0'
    cmp     edx, 9
    ja      .bad
.exponent_digit:
    imul    r9d, r9d, 10
    add     r9d, edx
    cmp     r9d, MAX_EXPONENT
    ja      .bad
    inc     rdi
    movzx   edx, byte [rdi]
    sub     edx, '0'
    cmp     edx, 9
    jbe     .exponent_digit
    cmp     edx, -'0'                   ; the zero byte
    jne     .bad
    mov     edx, r9d
    neg     edx
    test    r8d, r8d
    cmovz   edx, r9d
    add     ecx, edx

.convert:
    test    rax, rax
    jz      .good                       ; 0.0
    cmp     ecx, MAX_EXPONENT
    jg      .bad
    cmp     ecx, -2 * MAX_EXPONENT
    jl      .bad
    mov     edx, ecx
    xor     ecx, ecx
    call    decimal_scale
    mov     r8, rax                     ; round to 53 bits, ties to even
    shr     rax, 11
    and     r8d, (1 << 11) - 1
    cmp     r8d, 1 << 10
    jb      .assemble
    ja      .up
    test    edx, edx
    jnz     .up
    test    al, 1
    jz      .assemble
.up:
    inc     rax
.assemble:
    add     ecx, 11 + 52 + 1023 - 1     ; less one: bit 52 of the mantissa adds one to the exponent
    shl     rcx, 52
    add     rax, rcx
.good:
    pop     rbx
    clc
    ret
.bad:
    pop     rbx
    stc
    ret
