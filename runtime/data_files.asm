; data_files.asm: the data directory, and the paths of its files by the names that they may have.

%include "common.inc"
%include "print.inc"
%include "model.inc"

extern opt_data, process_stack, file_kind

global data_directory, find_data_directory, find_data_file
global train_image_names, train_label_names, test_image_names, test_label_names

S_IFDIR             equ 0x4000

%strcat NO_DIRECTORY "cannot open the data directory %s: %e; give --data DIR; ", \
                     "`asmgen data` makes one (fetch mnist, synth, import)"

section .rodata
variable:           db "ASMGEN_DATA=", 0
default_root:       db "data", 0
train_images_2:     db "train-images-idx2-ubyte", 0
train_images_3:     db "train-images-idx3-ubyte", 0
train_images_4:     db "train-images-idx4-ubyte", 0
train_images_5:     db "train-images-idx5-ubyte", 0
train_labels:       db "train-labels-idx1-ubyte", 0
test_images_2:      db "test-images-idx2-ubyte", 0
test_images_3:      db "test-images-idx3-ubyte", 0
test_images_4:      db "test-images-idx4-ubyte", 0
test_images_5:      db "test-images-idx5-ubyte", 0
test_labels:        db "test-labels-idx1-ubyte", 0
t10k_images_2:      db "t10k-images-idx2-ubyte", 0
t10k_images_3:      db "t10k-images-idx3-ubyte", 0
t10k_images_4:      db "t10k-images-idx4-ubyte", 0
t10k_images_5:      db "t10k-images-idx5-ubyte", 0
t10k_labels:        db "t10k-labels-idx1-ubyte", 0
train_images_words: db "train-images-idxR-ubyte (R: 2 to 5)", 0
test_images_words:  db "test-images-idxR-ubyte or t10k-images-idxR-ubyte (R: 2 to 5)", 0
test_labels_words:  db "test-labels-idx1-ubyte or t10k-labels-idx1-ubyte", 0
align 8
; The names a file may have: in words, then one by one, then 0.
train_image_names:  dq train_images_words, train_images_2, train_images_3, train_images_4, train_images_5, 0
train_label_names:  dq train_labels, train_labels, 0
test_image_names:   dq test_images_words, test_images_2, test_images_3, test_images_4, test_images_5
                    dq t10k_images_2, t10k_images_3, t10k_images_4, t10k_images_5, 0
test_label_names:   dq test_labels_words, test_labels, t10k_labels, 0

section .bss
data_directory:     resb PATH_BYTES
candidate:          resb PATH_BYTES

section .text

; find_data_directory: data_directory = --data, or $ASMGEN_DATA/<dataset>, or data/<dataset>
find_data_directory:
    mov     rax, [opt_data]
    test    rax, rax
    jz      .environment
    FORMAT_PATH data_directory, "%s", rax
    jmp     .check
.environment:
    mov     rsi, [process_stack]
    mov     rcx, [rsi]
    lea     rsi, [rsi + rcx * 8 + 16]   ; behind argc, the arguments and their zero
.next:
    mov     rdi, [rsi]
    add     rsi, 8
    test    rdi, rdi
    jz      .default
    lea     rdx, [variable]
.compare:
    mov     al, [rdx]
    test    al, al
    jz      .found
    cmp     al, [rdi]
    jne     .next
    inc     rdx
    inc     rdi
    jmp     .compare
.found:
    cmp     byte [rdi], 0
    jne     .join
.default:
    lea     rdi, [default_root]
.join:
    FORMAT_PATH data_directory, "%s/%s", rdi, model_dataset
.check:
    lea     rdi, [data_directory]
    call    file_kind
    jc      .missing
    cmp     eax, S_IFDIR
    mov     rax, -20                    ; ENOTDIR
    jne     .missing
    ret
.missing:
    FAIL    EXIT_FAILED, NO_DIRECTORY, data_directory, rax

; find_data_file: rdi -> PATH_BYTES, rsi -> names: the path of the one that exists; ends the program where that is none
; or several
find_data_file:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    mov     r14, rdi
    mov     rbx, rsi
    lea     rbp, [rbx + 8]
    xor     r13d, r13d                  ; the name that exists
.next:
    mov     r12, [rbp]
    add     rbp, 8
    test    r12, r12
    jz      .end
    FORMAT_PATH candidate, "%s/%s", data_directory, r12
    lea     rdi, [candidate]
    call    file_kind
    jc      .next
    test    r13, r13
    jnz     .several
    mov     r13, r12
    jmp     .next
.end:
    test    r13, r13
    jz      .none
    FORMAT_PATH r14, "%s/%s", data_directory, r13
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
.several:
    FAIL    EXIT_FAILED, "%s has both %s and %s: remove one", data_directory, r13, r12
.none:
    lea     rbp, [rbx + 8]
.compressed:
    mov     r12, [rbp]
    add     rbp, 8
    test    r12, r12
    jz      .missing
    FORMAT_PATH candidate, "%s/%s.gz", data_directory, r12
    lea     rdi, [candidate]
    call    file_kind
    jc      .compressed
    FAIL    EXIT_FAILED, "%s is compressed: unpack it (gunzip), or run `asmgen data import`", candidate
.missing:
    FAIL    EXIT_FAILED, "%s has no %s; make the data with `asmgen data`, or give --data DIR", data_directory, [rbx]
