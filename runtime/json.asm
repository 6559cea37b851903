; json.asm: reads JSON (RFC 8259) piece by piece from memory. Every function sets CF where the text is not what was
; asked for.
; State: json_at -> the next byte, json_end -> behind the last. The functions change rax rcx rdx rsi rdi r8-r11.

%include "common.inc"

extern json_string

global json_at, json_end, json_take, json_peek, json_number, json_skip

section .bss
json_at:            resq 1
json_end:           resq 1

section .text

; json_peek:  ->  al = the next byte that is not white space; CF at the end
json_peek:
    mov     rsi, [json_at]
.next:
    cmp     rsi, [json_end]
    jae     .end
    mov     al, [rsi]
    cmp     al, ' '
    je      .space
    cmp     al, 10
    je      .space
    cmp     al, 13
    je      .space
    cmp     al, 9
    je      .space
    mov     [json_at], rsi
    clc
    ret
.space:
    inc     rsi
    jmp     .next
.end:
    mov     [json_at], rsi
    stc
    ret

; json_take: dil = the byte that must come next, after white space
json_take:
    call    json_peek
    jc      .return
    cmp     al, dil
    jne     .other
    inc     qword [json_at]
    clc
.return:
    ret
.other:
    stc
    ret

; json_number: a whole number below 2^63  ->  rax
json_number:
    call    json_peek
    jc      .return
    xor     eax, eax
    mov     rsi, [json_at]
    mov     r8, rsi
.digit:
    cmp     rsi, [json_end]
    jae     .end
    movzx   ecx, byte [rsi]
    sub     ecx, '0'
    cmp     ecx, 9
    ja      .end
    mov     r9d, 10
    mul     r9
    jc      .return
    add     rax, rcx
    js      .bad
    inc     rsi
    jmp     .digit
.end:
    mov     [json_at], rsi
    cmp     r8, rsi                     ; CF where there was a digit
    cmc
.return:
    ret
.bad:
    stc
    ret

; json_skip: any value
json_skip:
    push    rbx
    xor     ebx, ebx                    ; how many brackets are open
.value:
    call    json_peek
    jc      .return
    cmp     al, '"'
    je      .string
    cmp     al, '{'
    je      .open
    cmp     al, '['
    je      .open
    cmp     al, '}'
    je      .close
    cmp     al, ']'
    je      .close
    cmp     al, ','
    je      .between
    cmp     al, ':'
    je      .between
.word:                                  ; a number, true, false or null: up to the next delimiter
    inc     qword [json_at]
    mov     rsi, [json_at]
    cmp     rsi, [json_end]
    jae     .after
    mov     al, [rsi]
    cmp     al, ' '
    jbe     .after
    cmp     al, ','
    je      .after
    cmp     al, ':'
    je      .after
    or      al, 0x20                    ; ] and } are one bit apart
    cmp     al, '}'
    je      .after
    jmp     .word
.string:
    call    json_string
    jc      .return
    jmp     .after
.open:
    inc     ebx
    inc     qword [json_at]
    jmp     .value
.between:
    test    ebx, ebx
    jz      .bad
    inc     qword [json_at]
    jmp     .value
.close:
    dec     ebx
    js      .bad
    inc     qword [json_at]
.after:
    test    ebx, ebx
    jnz     .value
    clc
.return:
    pop     rbx
    ret
.bad:
    stc
    jmp     .return
