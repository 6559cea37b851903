; checkpoint_load.asm: --load FILE: any valid safetensors file with exactly the model's tensors, in any order, one
; behind the other. First all of the header is checked, then the tensors are copied, so a wrong file changes nothing.

%include "common.inc"
%include "print.inc"
%include "model.inc"

extern opt_load, file_map, memory_release, machine_run, tensor_scatter
extern json_at, json_end, json_take, json_peek, json_skip
extern header_start, header_failed, entry_read_name, entry_read, entry_name, entry_dtype, entry_shape, entry_begin
extern entry_end, equal_text

global checkpoint_load

section .rodata
metadata:           db "__metadata__", 0

section .bss
data_bytes:         resq 1              ; behind the header

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
    mov     [header_start], rbx
    mov     [json_at], rdx
    add     rdx, rax
    mov     [json_end], rdx
    mov     rbp, rdx
    sub     rcx, rax
    mov     [data_bytes], rcx

    mov     dil, '{'
    call    json_take
    jc      header_failed
.entry:
    call    json_peek
    jc      header_failed
    cmp     al, '}'
    je      .end
    call    entry_read_name
    lea     rsi, [metadata]
    lea     rdi, [entry_name]
    call    equal_text
    je      .skip
    call    entry_read
    call    accept_entry
    jmp     .after
.skip:
    call    json_skip
    jc      header_failed
.after:
    mov     dil, ','
    call    json_take
    jnc     .entry
.end:
    mov     dil, '}'
    call    json_take
    jc      header_failed

    call    check_all_found
    call    check_places
    lea     rdi, [scatter_shares]
    call    machine_run
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
    FAIL    EXIT_FAILED, "%s has %u bytes, but its header announces %u: not a safetensors file, or truncated", \
            [opt_load], r12, rax

; accept_entry: finds the model's tensor with this name, dtype and shape, and notes where its data lies. rbp -> data.
accept_entry:
    push    rbx
    push    r12
    lea     rbx, [model_tensors]
    xor     r12d, r12d
.find:
    mov     rdi, [rbx + tensor.name]
    lea     rsi, [entry_name]
    call    equal_text
    je      .found
    add     rbx, tensor_size
    inc     r12
    cmp     r12, [model_tensor_count]
    jb      .find
    FAIL    EXIT_FAILED, "%s: tensor %s is not one of %s: these are the weights of another model", \
            [opt_load], entry_name, model_name
.found:
    lea     rdi, [entry_dtype]
    mov     rsi, [rbx + tensor.dtype]
    call    equal_text
    jne     .dtype
    mov     rsi, [rbx + tensor.shape]
    lea     rdi, [entry_shape]
    mov     rcx, [rsi]
    inc     rcx
    repe    cmpsq
    jne     .shape
    mov     rax, [entry_end]
    cmp     rax, [entry_begin]
    jb      .backwards
    cmp     rax, [data_bytes]
    ja      .truncated
    sub     rax, [entry_begin]
    mov     rcx, [rbx + tensor.elements]
    imul    rcx, [model_element_bytes]
    cmp     rax, rcx
    jne     .size
    lea     rdx, [model_tensor_sources]
    cmp     qword [rdx + r12 * 8], 0
    jne     .twice
    mov     rax, [entry_begin]
    add     rax, rbp
    mov     [rdx + r12 * 8], rax
    pop     r12
    pop     rbx
    ret
.dtype:
    FAIL    EXIT_FAILED, "%s: tensor %s is %s, but %s needs %s", \
            [opt_load], entry_name, entry_dtype, model_name, [rbx + tensor.dtype]
.shape:
    FAIL    EXIT_FAILED, "%s: tensor %s has shape %d, but in %s it has %d", \
            [opt_load], entry_name, entry_shape, model_name, [rbx + tensor.shape]
.backwards:
    FAIL    EXIT_FAILED, "%s: tensor %s begins at byte %u of the data, but ends before that, at byte %u", \
            [opt_load], entry_name, [entry_begin], rax
.truncated:
    FAIL    EXIT_FAILED, "%s is truncated: tensor %s ends at byte %u of the data, which has %u", \
            [opt_load], entry_name, rax, [data_bytes]
.size:
    FAIL    EXIT_FAILED, "%s: tensor %s has %u bytes of data, but its shape needs %u", [opt_load], entry_name, rax, rcx
.twice:
    FAIL    EXIT_FAILED, "%s: tensor %s appears twice", [opt_load], entry_name

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

; check_places: the tensors are the data, each byte of it once: from rbp on there is always one that begins where the
; last ended (none is empty), and the last ends with the file.
check_places:
    mov     rax, rbp                    ; where the next one must begin
    mov     r8, [model_tensor_count]
.next:
    lea     rdx, [model_tensors]
    lea     rsi, [model_tensor_sources]
    mov     rcx, [model_tensor_count]
.find:
    cmp     [rsi], rax
    je      .found
    add     rdx, tensor_size
    add     rsi, 8
    dec     rcx
    jnz     .find
    sub     rax, rbp
    FAIL    EXIT_FAILED, "%s: no tensor begins at byte %u of the data: tensors overlap, or there is a gap", \
            [opt_load], rax
.found:
    mov     rcx, [rdx + tensor.elements]
    imul    rcx, [model_element_bytes]
    add     rax, rcx
    dec     r8
    jnz     .next
    sub     rax, rbp
    cmp     rax, [data_bytes]
    jne     .more
    ret
.more:
    FAIL    EXIT_FAILED, \
            "%s has %u bytes of data, but its tensors end at byte %u: not a safetensors file, or something follows", \
            [opt_load], [data_bytes], rax

; scatter_shares: r12 = this thread, r13 = threads: the data of the file to the packed tensors
scatter_shares:
    push    rbx
    push    rbp
    lea     rbx, [model_tensors]
    xor     ebp, ebp
.next:
    lea     rax, [model_tensor_sources]
    mov     rsi, [rax + rbp * 8]
    mov     rdi, rbx
    call    tensor_scatter
    add     rbx, tensor_size
    inc     rbp
    cmp     rbp, [model_tensor_count]
    jb      .next
    pop     rbp
    pop     rbx
    ret
