; checkpoint_entry.asm: one entry of a safetensors header: "name": {"dtype": "F32", "shape": [3, 6], "data_offsets": [0,
; 72]}.
; Keys come in any order; other keys are skipped.

%include "common.inc"
%include "print.inc"

extern opt_load
extern json_at, json_text, json_take, json_string, json_number, json_skip

global header_start, header_failed, entry_read_name, entry_read, entry_name, entry_dtype, entry_shape, entry_begin
global entry_end, equal_text

MAX_RANK            equ 8
HAS_DTYPE           equ 1
HAS_SHAPE           equ 2
HAS_OFFSETS         equ 4
NAME_BYTES          equ 256

section .rodata
dtype_key:          db "dtype", 0
shape_key:          db "shape", 0
offsets_key:        db "data_offsets", 0

section .bss
header_start:       resq 1              ; -> the file
entry_name:         resb NAME_BYTES
entry_dtype:        resb NAME_BYTES
entry_shape:        resq 1 + MAX_RANK   ; rank, extents
entry_begin:        resq 1              ; bytes from the start of the data
entry_end:          resq 1

section .text

; header_failed: ends the program: the text at json_at is not what it must be
header_failed:
    mov     rax, [json_at]
    sub     rax, [header_start]
    FAIL    EXIT_FAILED, "%s: the header is not that of a safetensors file, near byte %u", [opt_load], rax

; equal_text: rdi, rsi -> text  ->  ZF where they are equal
equal_text:
    mov     al, [rdi]
    cmp     al, [rsi]
    jne     .return
    inc     rdi
    inc     rsi
    test    al, al
    jnz     equal_text
.return:
    ret

; entry_read_name: the key of an entry and its colon, to entry_name
entry_read_name:
    lea     rdi, [entry_name]
    call    read_text
    mov     dil, ':'
    call    json_take
    jc      header_failed
    ret

; read_text: rdi -> NAME_BYTES: a string goes there
read_text:
    push    rdi
    call    json_string
    pop     rdi
    jc      header_failed
    lea     rsi, [json_text]
    mov     ecx, NAME_BYTES
    rep     movsb
    ret

; entry_read: the object of a tensor, to entry_dtype, entry_shape, entry_begin and entry_end
entry_read:
    push    r13
    xor     r13d, r13d                  ; HAS_*
    mov     dil, '{'
    call    json_take
    jc      header_failed
.key:
    call    json_string
    jc      header_failed
    mov     dil, ':'
    call    json_take
    jc      header_failed
    lea     rdi, [json_text]
    lea     rsi, [dtype_key]
    call    equal_text
    je      .dtype
    lea     rdi, [json_text]
    lea     rsi, [shape_key]
    call    equal_text
    je      .shape
    lea     rdi, [json_text]
    lea     rsi, [offsets_key]
    call    equal_text
    je      .offsets
    call    json_skip
    jc      header_failed
    jmp     .after
.dtype:
    or      r13d, HAS_DTYPE
    lea     rdi, [entry_dtype]
    call    read_text
    jmp     .after
.shape:
    or      r13d, HAS_SHAPE
    call    read_shape
    jmp     .after
.offsets:
    or      r13d, HAS_OFFSETS
    mov     dil, '['
    call    json_take
    jc      header_failed
    call    json_number
    jc      header_failed
    mov     [entry_begin], rax
    mov     dil, ','
    call    json_take
    jc      header_failed
    call    json_number
    jc      header_failed
    mov     [entry_end], rax
    mov     dil, ']'
    call    json_take
    jc      header_failed
.after:
    mov     dil, ','
    call    json_take
    jnc     .key
    mov     dil, '}'
    call    json_take
    jc      header_failed
    cmp     r13d, HAS_DTYPE | HAS_SHAPE | HAS_OFFSETS
    jne     header_failed
    pop     r13
    ret

; read_shape: a list of whole numbers, to entry_shape
read_shape:
    mov     qword [entry_shape], 0
    mov     dil, '['
    call    json_take
    jc      header_failed
    mov     dil, ']'
    call    json_take
    jnc     .return                     ; a scalar
.extent:
    call    json_number
    jc      header_failed
    mov     rcx, [entry_shape]
    cmp     rcx, MAX_RANK
    jae     header_failed
    lea     rdx, [entry_shape + 8]
    mov     [rdx + rcx * 8], rax
    inc     qword [entry_shape]
    mov     dil, ','
    call    json_take
    jnc     .extent
    mov     dil, ']'
    call    json_take
    jc      header_failed
.return:
    ret
