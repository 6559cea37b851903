; checkpoint_load.asm: --load FILE: any valid safetensors file with exactly the model's tensors, in any order. First all of
; the header is checked, then the tensors are copied, so a wrong file changes nothing.

%include "common.inc"
%include "print.inc"
%include "model.inc"

extern opt_load, file_map, memory_release, tensor_walk
extern json_at, json_end, json_text, json_text_bytes, json_take, json_peek, json_string, json_number, json_skip

global checkpoint_load

MAX_RANK            equ 8
HAS_DTYPE           equ 1
HAS_SHAPE           equ 2
HAS_OFFSETS         equ 4
NAME_BYTES          equ 256

section .rodata
metadata:           db "__metadata__", 0
dtype_key:          db "dtype", 0
shape_key:          db "shape", 0
offsets_key:        db "data_offsets", 0

section .bss
data_bytes:         resq 1              ; behind the header
name:               resb NAME_BYTES     ; of the entry that is being read
dtype:              resb NAME_BYTES
shape:              resq 1 + MAX_RANK   ; rank, extents
data_begin:         resq 1
data_end:           resq 1
scatter_source:     resq 1              ; -> canonical tensor

section .text

; checkpoint_load: rbx -> file, rbp -> its data, r12 = bytes of the file
checkpoint_load:
    push    rbx
    push    rbp
    push    r12
    push    r13
    mov     rdi, [opt_load]
    call    file_map
    jc      .unreadable
    mov     rbx, rax
    mov     r12, rdx
    cmp     rdx, 8
    jb      .short
    mov     rax, [rbx]                  ; bytes of the header
    lea     rcx, [r12 - 8]
    cmp     rax, rcx
    ja      .long_header
    lea     rdx, [rbx + 8]
    mov     [json_at], rdx
    add     rdx, rax
    mov     [json_end], rdx
    mov     rbp, rdx
    sub     rcx, rax
    mov     [data_bytes], rcx

    mov     dil, '{'
    call    json_take
    jc      bad_header
.entry:
    call    json_peek
    jc      bad_header
    cmp     al, '}'
    je      .end
    call    read_name
    lea     rsi, [metadata]
    lea     rdi, [name]
    call    equal_text
    je      .skip
    call    read_entry
    call    accept_entry
    jmp     .after
.skip:
    call    json_skip
    jc      bad_header
.after:
    mov     dil, ','
    call    json_take
    jnc     .entry
.end:
    mov     dil, '}'
    call    json_take
    jc      bad_header

    call    check_all_found
    call    copy_all
    mov     rdi, rbx
    mov     rsi, r12
    call    memory_release
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret

.unreadable:
    FAIL    EXIT_FAILED, "cannot read %s: %e", [opt_load], rax
.short:
    FAIL    EXIT_FAILED, "%s has %u bytes: not a safetensors file, or truncated", [opt_load], r12
.long_header:
    FAIL    EXIT_FAILED, "%s has %u bytes, but its header announces %u: not a safetensors file, or truncated", [opt_load], r12, rax

bad_header:
    mov     rax, [json_at]
    sub     rax, rbx
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

; read_name: the key of an entry and its colon, to `name`
read_name:
    lea     rdi, [name]
    call    read_text
    mov     dil, ':'
    call    json_take
    jc      bad_header
    ret

; read_text: rdi -> NAME_BYTES: a string goes there
read_text:
    push    rdi
    call    json_string
    pop     rdi
    jc      bad_header
    lea     rsi, [json_text]
    mov     ecx, NAME_BYTES
    rep     movsb
    ret

; read_entry: the object of a tensor, to dtype, shape, data_begin and data_end
read_entry:
    push    r13
    xor     r13d, r13d                  ; HAS_*
    mov     dil, '{'
    call    json_take
    jc      bad_header
.key:
    call    json_string
    jc      bad_header
    mov     dil, ':'
    call    json_take
    jc      bad_header
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
    jc      bad_header
    jmp     .after
.dtype:
    or      r13d, HAS_DTYPE
    lea     rdi, [dtype]
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
    jc      bad_header
    call    json_number
    jc      bad_header
    mov     [data_begin], rax
    mov     dil, ','
    call    json_take
    jc      bad_header
    call    json_number
    jc      bad_header
    mov     [data_end], rax
    mov     dil, ']'
    call    json_take
    jc      bad_header
.after:
    mov     dil, ','
    call    json_take
    jnc     .key
    mov     dil, '}'
    call    json_take
    jc      bad_header
    cmp     r13d, HAS_DTYPE | HAS_SHAPE | HAS_OFFSETS
    jne     bad_header
    pop     r13
    ret

; read_shape: a list of whole numbers, to shape
read_shape:
    mov     qword [shape], 0
    mov     dil, '['
    call    json_take
    jc      bad_header
    mov     dil, ']'
    call    json_take
    jnc     .return                     ; a scalar
.extent:
    call    json_number
    jc      bad_header
    mov     rcx, [shape]
    cmp     rcx, MAX_RANK
    jae     bad_header
    lea     rdx, [shape + 8]
    mov     [rdx + rcx * 8], rax
    inc     qword [shape]
    mov     dil, ','
    call    json_take
    jnc     .extent
    mov     dil, ']'
    call    json_take
    jc      bad_header
.return:
    ret

; accept_entry: finds the model's tensor with this name, dtype and shape, and notes where its data lies. rbp -> data.
accept_entry:
    push    rbx
    push    r12
    lea     rbx, [model_tensors]
    xor     r12d, r12d
.find:
    mov     rdi, [rbx + tensor.name]
    lea     rsi, [name]
    call    equal_text
    je      .found
    add     rbx, tensor_size
    inc     r12
    cmp     r12, [model_tensor_count]
    jb      .find
    FAIL    EXIT_FAILED, "%s: tensor %s is not one of %s: these are the weights of another model", [opt_load], name, model_name
.found:
    lea     rdi, [dtype]
    lea     rsi, [model_dtype_code]
    call    equal_text
    jne     .dtype
    mov     rsi, [rbx + tensor.shape]
    lea     rdi, [shape]
    mov     rcx, [rsi]
    inc     rcx
    repe    cmpsq
    jne     .shape
    mov     rax, [data_end]
    cmp     rax, [data_bytes]
    ja      .truncated
    sub     rax, [data_begin]
    mov     rcx, [rbx + tensor.elements]
    imul    rcx, [model_element_bytes]
    cmp     rax, rcx
    jne     .size
    lea     rdx, [model_tensor_sources]
    cmp     qword [rdx + r12 * 8], 0
    jne     .twice
    mov     rax, [data_begin]
    add     rax, rbp
    mov     [rdx + r12 * 8], rax
    pop     r12
    pop     rbx
    ret
.dtype:
    FAIL    EXIT_FAILED, "%s: tensor %s is %s, but %s computes in %s", [opt_load], name, dtype, model_name, model_dtype_code
.shape:
    FAIL    EXIT_FAILED, "%s: tensor %s has shape %d, but in %s it has %d", [opt_load], name, shape, model_name, [rbx + tensor.shape]
.truncated:
    FAIL    EXIT_FAILED, "%s is truncated: tensor %s ends at byte %u of the data, which has %u", [opt_load], name, rax, [data_bytes]
.size:
    FAIL    EXIT_FAILED, "%s: tensor %s has %u bytes of data, but its shape needs %u", [opt_load], name, rax, rcx
.twice:
    FAIL    EXIT_FAILED, "%s: tensor %s appears twice", [opt_load], name

; check_all_found: every tensor of the model was in the file
check_all_found:
    lea     rdx, [model_tensors]
    lea     rsi, [model_tensor_sources]
    mov     rcx, [model_tensor_count]
.next:
    cmp     qword [rsi], 0
    je      .missing
    add     rdx, tensor_size
    add     rsi, 8
    dec     rcx
    jnz     .next
    ret
.missing:
    FAIL    EXIT_FAILED, "%s has no tensor %s, which %s needs", [opt_load], [rdx + tensor.name], model_name

; copy_all: the data of the file to the packed tensors
copy_all:
    push    rbx
    push    r12
    push    r13
    lea     rbx, [model_tensors]
    lea     r12, [model_tensor_sources]
    mov     r13, [model_tensor_count]
.next:
    mov     rax, [r12]
    mov     [scatter_source], rax
    mov     rdi, rbx
    lea     rsi, [scatter]
    call    tensor_walk
    add     rbx, tensor_size
    add     r12, 8
    dec     r13
    jnz     .next
    pop     r13
    pop     r12
    pop     rbx
    ret

; scatter: rdi -> packed element, rsi = its canonical index
scatter:
    mov     rdx, [scatter_source]
    cmp     qword [model_element_bytes], 4
    je      .float32
    mov     rax, [rdx + rsi * 8]
    mov     [rdi], rax
    ret
.float32:
    mov     eax, [rdx + rsi * 4]
    mov     [rdi], eax
    ret
