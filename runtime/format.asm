; format.asm: formats, as the macros of print.inc pass them.
;
; Directives of a format (each takes the qwords named):
;   %s text                   %S address, length        %l width, text (left-aligned)
;   %u number                 %w width, number          %x number, eight hexadecimal digits
;   %f float64, 4 decimals    %g float64, 12 digits      %p part, whole: 98.12%
;   %d -> rank and extents: [32, 3, 3, 3]               %m bytes, in MB with one decimal
;   %e -errno as words        %% a percent sign

%include "common.inc"

extern print_used, print_byte, print_text, print_fixed, print_general, errno_text

global print_format, print_number

section .text

; print_number: rax = unsigned number, ecx = width to fill with spaces on the left.
print_number:
    mov     r8d, 10
    lea     rsi, [rsp - 8]              ; the digits grow down in the red zone (20 at most, nothing is called)
    mov     r9, rsi
.digit:
    xor     edx, edx
    div     r8
    add     edx, '0'
    dec     rsi
    mov     [rsi], dl
    test    rax, rax
    jnz     .digit
    sub     rsp, 64                     ; from here on print_byte is called: take the red zone
    sub     r9, rsi                     ; how many digits
    sub     ecx, r9d
    jle     .write
.pad:
    mov     al, ' '
    call    print_byte
    dec     ecx
    jnz     .pad
.write:
    mov     al, [rsi]
    call    print_byte
    inc     rsi
    dec     r9
    jnz     .write
    add     rsp, 64
    ret

; print_format: rdi -> format, rsi -> its arguments. Appends to the buffer.
print_format:
    push    rbx
    push    rbp
    mov     rbx, rdi
    mov     rbp, rsi
.next:
    mov     al, [rbx]
    inc     rbx
    test    al, al
    jz      .done
    cmp     al, '%'
    je      .directive
.literal:
    call    print_byte
    jmp     .next
.done:
    pop     rbp
    pop     rbx
    ret

.directive:
    mov     dl, [rbx]
    inc     rbx
    cmp     dl, '%'
    mov     al, dl
    je      .literal
    mov     rax, [rbp]                  ; every other directive takes an argument
    add     rbp, 8
    lea     rcx, [.next]
    push    rcx                         ; and returns there
    cmp     dl, 's'
    je      .text
    cmp     dl, 'S'
    je      .counted
    cmp     dl, 'l'
    je      .left
    cmp     dl, 'u'
    je      .number
    cmp     dl, 'w'
    je      .wide
    cmp     dl, 'x'
    je      .hex
    cmp     dl, 'f'
    je      print_fixed
    cmp     dl, 'g'
    je      print_general
    cmp     dl, 'p'
    je      .percent
    cmp     dl, 'd'
    je      .shape
    cmp     dl, 'm'
    je      .megabytes
    cmp     dl, 'e'
    je      .errno
    ud2                                 ; a format of the runtime itself is wrong

.text:
    mov     rdi, rax
    jmp     print_text

.counted:
    mov     rsi, rax
    mov     rcx, [rbp]
    add     rbp, 8
.counted_byte:
    test    rcx, rcx
    jz      .return
    mov     al, [rsi]
    call    print_byte
    inc     rsi
    dec     rcx
    jmp     .counted_byte

.left:
    mov     rsi, rax
    mov     rdi, [rbp]
    add     rbp, 8
    add     rsi, [print_used]                 ; where the column ends
    call    print_text
    sub     rsi, [print_used]
    jle     .return
.left_pad:
    mov     al, ' '
    call    print_byte
    dec     rsi
    jnz     .left_pad
    ret

.number:
    xor     ecx, ecx
    jmp     print_number

.wide:
    mov     rcx, rax
    mov     rax, [rbp]
    add     rbp, 8
    jmp     print_number

.hex:
    mov     edx, eax
    mov     ecx, 8
.hex_digit:
    rol     edx, 4
    mov     eax, edx
    and     eax, 15
    cmp     al, 10
    jb      .hex_decimal
    add     al, 'a' - 10 - '0'
.hex_decimal:
    add     al, '0'
    call    print_byte
    dec     ecx
    jnz     .hex_digit
.return:
    ret

; 98.12%: part * 10000 / whole, rounded half up; a dash where nothing was counted.
.percent:
    mov     rcx, [rbp]
    add     rbp, 8
    test    rcx, rcx
    jz      .percent_none
    imul    rax, rax, 20000
    add     rax, rcx
    xor     edx, edx
    div     rcx
    shr     rax, 1
    mov     ecx, 2
    call    .decimals
    mov     al, '%'
    jmp     print_byte
.percent_none:
    mov     al, '-'
    jmp     print_byte

; MB with one decimal, the nearest, as `asmgen build` prints it.
.megabytes:
    mov     ecx, 1000000 / 10
    add     rax, 1000000 / 10 / 2
    xor     edx, edx
    div     rcx
    mov     ecx, 1
; rax / 10^ecx, ecx (1 or 2) decimals
.decimals:
    push    rcx
    mov     r8d, 10
    cmp     ecx, 1
    je      .split
    mov     r8d, 100
.split:
    xor     edx, edx
    div     r8
    push    rdx
    xor     ecx, ecx
    call    print_number
    mov     al, '.'
    call    print_byte
    pop     rax                         ; the remainder, with its leading zero
    pop     rcx
    cmp     ecx, 1
    je      .last_digits
    cmp     eax, 10
    jae     .last_digits
    push    rax
    mov     al, '0'
    call    print_byte
    pop     rax
.last_digits:
    xor     ecx, ecx
    jmp     print_number

.shape:
    push    rbx
    push    r12
    mov     rbx, rax
    mov     r12, [rbx]
    mov     al, '['
    call    print_byte
    test    r12, r12
    jz      .shape_end
.shape_extent:
    add     rbx, 8
    mov     rax, [rbx]
    xor     ecx, ecx
    call    print_number
    dec     r12
    jz      .shape_end
    mov     al, ','
    call    print_byte
    mov     al, ' '
    call    print_byte
    jmp     .shape_extent
.shape_end:
    mov     al, ']'
    call    print_byte
    pop     r12
    pop     rbx
    ret

.errno:
    mov     rdi, rax
    call    errno_text                  ; rax -> words, or 0
    mov     rdi, rax
    jmp     print_text
