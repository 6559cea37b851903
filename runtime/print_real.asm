; print_real.asm: float64 as decimal text, correctly rounded (decimal.asm says how exactly).

%include "common.inc"

extern decimal_scale, decimal_round, print_byte, print_text, print_number

global print_fixed, print_general

SIGNIFICANT         equ 12
MIN_FIXED_EXPONENT  equ -5              ; smaller and larger values are written with an exponent

section .rodata
nan_text:           db "nan", 0
inf_text:           db "inf", 0
zero_text:          db "0", 0
zero_4_text:        db "0.0000", 0
align 8
fixed_limit:        dq 1.0e9
infinity:           dq 0x7ff << 52
large_enough:       dq 100_000_000_000  ; 10^(SIGNIFICANT - 1)
too_large:          dq 1_000_000_000_000

section .text

; unpack: rax = float64 bits. Prints a minus sign where there is one, but a nan has none that means anything.
;   ->  rax = mantissa, ecx = binary exponent; CF where the value is nan or infinite, ZF where it is zero.
unpack:
    btr     rax, 63
    jnc     .positive
    cmp     rax, [infinity]
    ja      .positive
    push    rax
    mov     al, '-'
    call    print_byte
    pop     rax
.positive:
    mov     rcx, rax
    shr     rcx, 52
    cmp     ecx, 0x7ff
    je      .special
    mov     rdx, (1 << 52) - 1
    and     rax, rdx
    bts     rax, 52
    test    ecx, ecx                    ; denormals are zero here
    jz      .done
    sub     ecx, 1075
    or      edx, 1                      ; clears ZF and CF
.done:
    ret
.special:
    stc
    ret

; print_special: rax = bits without sign of nan or infinity
print_special:
    lea     rdi, [nan_text]
    shl     rax, 12
    jnz     print_text
    lea     rdi, [inf_text]
    jmp     print_text

; print_fixed: rax = float64 bits, with four decimals (as print_general from 10^9 on)
print_fixed:
    mov     rdx, rax
    btr     rdx, 63
    cmp     rdx, [fixed_limit]          ; positive floats compare like their bits
    jae     print_general
    call    unpack
    lea     rdi, [zero_4_text]
    jz      print_text
    mov     edx, 4
    call    decimal_scale
    call    decimal_round
    xor     edx, edx
    mov     ecx, 10000
    div     rcx
    push    rdx
    xor     ecx, ecx
    call    print_number
    mov     al, '.'
    call    print_byte
    pop     rax
    add     eax, 10000                  ; keeps the leading zeros; its own 1 is dropped
    mov     ecx, 5
    jmp     print_digits

; print_digits: eax = a number of ecx digits; prints all but the first
print_digits:
    push    rbx
    mov     ebx, ecx
    sub     rsp, 16
    mov     r8d, 10
.divide:
    xor     edx, edx
    div     r8d
    add     edx, '0'
    dec     ecx
    mov     [rsp + rcx], dl
    jnz     .divide
    mov     ecx, 1
.write:
    mov     al, [rsp + rcx]
    call    print_byte
    inc     ecx
    cmp     ecx, ebx
    jb      .write
    add     rsp, 16
    pop     rbx
    ret

; print_general: rax = float64 bits, twelve significant digits without trailing zeros: 0.005, 1.5e-07, 12345
print_general:
    push    rbx
    push    rbp
    push    r12
    push    r13
    sub     rsp, 16                     ; the digits
    call    unpack
    jc      .special
    jz      .zero
    mov     rbx, rax
    mov     ebp, ecx

    ; p with 10^p <= x < 10^(p+1): log10 of the power of two, then corrected
    lea     r12d, [rcx + 52]
    imul    r12d, r12d, 1233            ; log10(2) = 1233 / 4096 - 5e-6
    sar     r12d, 12
.try:
    mov     rax, rbx
    mov     ecx, ebp
    mov     edx, SIGNIFICANT - 1
    sub     edx, r12d
    call    decimal_scale
    call    decimal_round
    cmp     rax, [too_large]
    jb      .not_more
    inc     r12d
    jmp     .try
.not_more:
    cmp     rax, [large_enough]
    jae     .digits
    dec     r12d
    jmp     .try

.digits:
    mov     ecx, SIGNIFICANT
    mov     r8d, 10
    xor     r13d, r13d                  ; number of digits up to the last that is not 0
.divide:
    xor     edx, edx
    div     r8
    test    r13d, r13d
    jnz     .keep
    test    edx, edx
    cmovnz  r13d, ecx
.keep:
    add     edx, '0'
    dec     ecx
    mov     [rsp + rcx], dl
    jnz     .divide

    cmp     r12d, MIN_FIXED_EXPONENT
    jl      .scientific
    cmp     r12d, SIGNIFICANT
    jge     .scientific
    test    r12d, r12d
    js      .small
    xor     ebx, ebx                    ; integer digits 0 .. p
.integer:
    mov     al, [rsp + rbx]
    call    print_byte
    inc     ebx
    cmp     ebx, r12d
    jle     .integer
    cmp     ebx, r13d
    jge     .done
    mov     al, '.'
    call    print_byte
    jmp     .fraction

.small:
    lea     rdi, [zero_text]
    call    print_text
    mov     al, '.'
    call    print_byte
    xor     ebx, ebx
.leading_zero:
    inc     r12d
    jz      .fraction
    mov     al, '0'
    call    print_byte
    jmp     .leading_zero
.fraction:
    mov     al, [rsp + rbx]
    call    print_byte
    inc     ebx
    cmp     ebx, r13d
    jl      .fraction
    jmp     .done

.scientific:
    mov     al, [rsp]
    call    print_byte
    mov     ebx, 1
    cmp     ebx, r13d
    jge     .exponent
    mov     al, '.'
    call    print_byte
.mantissa:
    mov     al, [rsp + rbx]
    call    print_byte
    inc     ebx
    cmp     ebx, r13d
    jl      .mantissa
.exponent:
    mov     al, 'e'
    call    print_byte
    mov     al, '+'
    test    r12d, r12d
    jns     .sign
    mov     al, '-'
    neg     r12d
.sign:
    call    print_byte
    cmp     r12d, 10
    jae     .exponent_digits
    mov     al, '0'
    call    print_byte
.exponent_digits:
    mov     eax, r12d
    xor     ecx, ecx
    call    print_number
    jmp     .done

.special:
    call    print_special
    jmp     .done
.zero:
    lea     rdi, [zero_text]
    call    print_text
.done:
    add     rsp, 16
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
