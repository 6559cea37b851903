; json_string.asm: a string of JSON, its escapes resolved to UTF-8. Like the functions of json.asm, it sets CF where the
; text is not what was asked for, and changes rax rcx rdx rsi rdi r8-r11.

%include "common.inc"

extern json_at, json_end, json_take

global json_string, json_text, json_text_bytes

TEXT_BYTES          equ 256
SURROGATE_MASK      equ 0xfc00          ; \uD800 to \uDBFF, then \uDC00 to \uDFFF
SURROGATE_HIGH      equ 0xd800
SURROGATE_LOW       equ 0xdc00

section .rodata
escapes:            db '""', '\\', '//', 'b', 8, 'f', 12, 'n', 10, 'r', 13, 't', 9, 0

section .bss
json_text_bytes:    resq 1              ; length of the last string
json_text:          resb TEXT_BYTES     ; the last string, unescaped, cut to TEXT_BYTES - 1, with a zero at its end

section .text

; next_byte:  ->  al, and past it; CF at the end
next_byte:
    mov     rsi, [json_at]
    cmp     rsi, [json_end]
    jae     .end
    mov     al, [rsi]
    inc     rsi
    mov     [json_at], rsi
    clc
    ret
.end:
    stc
    ret

; put_byte: al goes to json_text while there is room
put_byte:
    mov     rcx, [json_text_bytes]
    inc     qword [json_text_bytes]
    cmp     rcx, TEXT_BYTES - 1
    jae     .full
    lea     rdx, [json_text]
    mov     [rdx + rcx], al
    mov     byte [rdx + rcx + 1], 0
.full:
    ret

; json_string: a string, to json_text
json_string:
    mov     dil, '"'
    call    json_take
    jc      .return
    mov     qword [json_text_bytes], 0
    mov     byte [json_text], 0
.next:
    call    next_byte
    jc      .return
    cmp     al, '"'
    je      .good
    cmp     al, ' '
    jb      .return                     ; control characters must be escaped; CF is set
    cmp     al, '\'
    je      .escape
.put:
    call    put_byte
    jmp     .next
.good:
    clc
.return:
    ret

.escape:
    call    next_byte
    jc      .return
    cmp     al, 'u'
    je      .unicode
    lea     rdi, [escapes]
.find:
    cmp     byte [rdi], 0
    je      .bad
    add     rdi, 2
    cmp     al, [rdi - 2]
    jne     .find
    mov     al, [rdi - 1]
    jmp     .put
.bad:
    stc
    ret

; \uXXXX, or two of them that are a surrogate pair, as UTF-8; half a pair is an error
.unicode:
    call    hex_digits
    jc      .return
    mov     r8d, eax
    and     eax, SURROGATE_MASK
    cmp     eax, SURROGATE_LOW
    je      .bad
    cmp     eax, SURROGATE_HIGH
    jne     .encode
    mov     r10d, r8d
    call    next_byte
    jc      .return
    cmp     al, '\'
    jne     .bad
    call    next_byte
    jc      .return
    cmp     al, 'u'
    jne     .bad
    call    hex_digits
    jc      .return
    mov     r8d, eax
    and     eax, SURROGATE_MASK
    cmp     eax, SURROGATE_LOW
    jne     .bad
    shl     r10d, 10                    ; ten bits from each half
    lea     r8d, [r8 + r10 + 0x10000 - (SURROGATE_HIGH << 10) - SURROGATE_LOW]
.encode:
    mov     eax, r8d
    cmp     r8d, 0x80
    jb      .put
    cmp     r8d, 0x800
    jb      .two
    cmp     r8d, 0x10000
    jb      .three
    shr     eax, 18
    or      al, 0xf0
    call    put_byte
    mov     ecx, 12
    call    put_six
    jmp     .last_two
.three:
    shr     eax, 12
    or      al, 0xe0
    call    put_byte
.last_two:
    mov     ecx, 6
    call    put_six
    jmp     .last
.two:
    shr     eax, 6
    or      al, 0xc0
    call    put_byte
.last:
    xor     ecx, ecx
    call    put_six
    jmp     .next

; put_six: the six bits of r8d from bit ecx on, as a later byte of UTF-8
put_six:
    mov     eax, r8d
    shr     eax, cl
    and     al, 0x3f
    or      al, 0x80
    jmp     put_byte

; hex_digits: four of them  ->  eax
hex_digits:
    xor     edi, edi
    mov     r9d, 4
.next:
    call    next_byte
    jc      .return
    movzx   eax, al
    sub     eax, '0'
    cmp     eax, 9
    jbe     .nibble
    add     eax, '0'
    or      eax, 0x20
    sub     eax, 'a'
    cmp     eax, 5
    ja      .bad
    add     eax, 10
.nibble:
    shl     edi, 4
    or      edi, eax
    dec     r9d
    jnz     .next
    mov     eax, edi
    clc
.return:
    ret
.bad:
    stc
    ret
