; classes.asm: the names of the classes, from classes.json in the data directory: a JSON list with one short string a
; class.
; Where the file is not there, classes are called by their numbers; where it is anything else, too, and a line says so.

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
    jc      .not_names
.name:
    call    json_string
    jc      .not_names
    cmp     rbx, [model_classes]
    jae     .counted
    mov     rcx, [json_text_bytes]
    cmp     rcx, NAME_BYTES
    jae     .not_names
    cmp     rbp, rcx
    cmovb   rbp, rcx
    imul    rdi, rbx, NAME_BYTES
    lea     rax, [class_names]
    add     rdi, rax
    call    copy_printable
.counted:
    inc     rbx
    mov     dil, ','
    call    json_take
    jnc     .name
    mov     dil, ']'
    call    json_take
    jc      .not_names
    call    json_peek                   ; nothing may follow
    jnc     .not_names
    cmp     rbx, [model_classes]
    jne     .count
    mov     [class_width], rbp
    jmp     .return
.not_names:
    FORMAT  `trainer: %s is not a list of names of at most %u bytes; classes have numbers\n`, path, NAME_BYTES - 1
    jmp     .warn
.count:
    FORMAT  `trainer: %s names %u classes, but %s has %u; classes have numbers\n`, \
            path, rbx, model_name, [model_classes]
.warn:
    mov     edi, STDERR
    call    print_flush
.return:
    pop     r12
    pop     rbp
    pop     rbx
    ret

; copy_printable: json_text to rdi, rcx bytes, with ? for each byte of a control character (C1 ones are 0xc2 0x80 to
; 0x9f)
copy_printable:
    lea     rsi, [json_text]
.next:
    sub     rcx, 1
    jb      .return
    lodsb
    cmp     al, ' '
    jb      .control
    cmp     al, 0x7f
    je      .control
    lea     edx, [rax - 0x80]
    cmp     dl, 0x20
    jae     .put
    cmp     byte [rdi - 1], 0xc2
    jne     .put
    mov     byte [rdi - 1], '?'
.control:
    mov     al, '?'
.put:
    stosb
    jmp     .next
.return:
    ret
