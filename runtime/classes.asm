; classes.asm: the names of the classes, from classes.json in the data directory: a JSON list with one short string a class.
; Where the file is not there, or is anything else, classes are called by their numbers.

%include "common.inc"
%include "print.inc"
%include "model.inc"

extern data_directory, file_map, json_at, json_end, json_text, json_text_bytes, json_take, json_peek, json_string

global classes_open, class_names, class_width

NAME_BYTES          equ 40
MAX_CLASSES         equ 256

section .bss
class_width:        resq 1              ; of the longest name; 0: there are no names
class_names:        resb MAX_CLASSES * NAME_BYTES
path:               resb PATH_BYTES

section .text

classes_open:
    push    rbx
    push    rbp
    push    r12
    FORMAT_PATH path, "%s/classes.json", data_directory
    lea     rdi, [path]
    call    file_map
    jc      .return
    mov     [json_at], rax
    add     rax, rdx
    mov     [json_end], rax
    xor     ebx, ebx                    ; the class
    xor     ebp, ebp                    ; the longest name
    mov     dil, '['
    call    json_take
    jc      .return
.name:
    cmp     rbx, [model_classes]
    jae     .return
    call    json_string
    jc      .return
    mov     rcx, [json_text_bytes]
    cmp     rcx, NAME_BYTES
    jae     .return
    cmp     rbp, rcx
    cmovb   rbp, rcx
    imul    rdi, rbx, NAME_BYTES
    lea     rax, [class_names]
    add     rdi, rax
    lea     rsi, [json_text]
    mov     ecx, NAME_BYTES
    rep     movsb
    inc     rbx
    mov     dil, ','
    call    json_take
    jnc     .name
    mov     dil, ']'
    call    json_take
    jc      .return
    call    json_peek                   ; nothing may follow
    jnc     .return
    cmp     rbx, [model_classes]
    jne     .return
    mov     [class_width], rbp
.return:
    pop     r12
    pop     rbp
    pop     rbx
    ret
