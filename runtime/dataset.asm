; dataset.asm: the data directory, its four IDX files and what must be true of them, and the model's validation split.

%include "common.inc"
%include "print.inc"
%include "model.inc"
%include "split.inc"

extern opt_data, process_stack, file_kind, idx_map, idx_shape, classes_open

global dataset_open, train_split, test_split, validation_split, validation_begin, validation_end, train_count, data_directory

S_IFDIR             equ 0x4000

section .rodata
variable:           db "ASMGEN_DATA=", 0
default_root:       db "data", 0
train_name:         db "train", 0
test_name:          db "test", 0
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
image_extents:      dq model_width, model_height, model_channels, 0     ; -> those of the input, from the last

section .bss
train_split:        resb split_size
test_split:         resb split_size
validation_split:   resq 1              ; -> the split it is taken from, or 0
validation_begin:   resq 1
validation_end:     resq 1
train_count:        resq 1              ; training samples: those of the split less the validation's
data_directory:     resb PATH_BYTES
candidate:          resb PATH_BYTES

section .text

dataset_open:
    push    rbx
    call    find_directory
    lea     rdi, [train_split]
    lea     rsi, [train_image_names]
    lea     rdx, [train_label_names]
    lea     rax, [train_name]
    mov     [rdi + split.name], rax
    call    split_open
    lea     rdi, [test_split]
    lea     rsi, [test_image_names]
    lea     rdx, [test_label_names]
    lea     rax, [test_name]
    mov     [rdi + split.name], rax
    call    split_open
    call    validation_open
    call    classes_open
    pop     rbx
    ret

; find_directory: data_directory = --data, or $ASMGEN_DATA/<dataset>, or data/<dataset>
find_directory:
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
    FAIL    EXIT_FAILED, "cannot open the data directory %s: %e; give --data DIR; `asmgen data` makes one (fetch mnist, synth, import)", \
            data_directory, rax

; find_file: rdi -> PATH_BYTES, rsi -> names: the path of the one that exists; ends the program where that is none or several
find_file:
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

; split_open: rdi -> split with its name, rsi -> names of the images file, rdx -> names of the labels file
split_open:
    push    rbx
    push    rbp
    mov     rbx, rdi
    mov     rbp, rdx
    lea     rdi, [rbx + split.image_path]
    call    find_file
    lea     rdi, [rbx + split.label_path]
    mov     rsi, rbp
    call    find_file
    call    open_images
    call    open_labels
    pop     rbp
    pop     rbx
    ret

; open_images: rbx -> split. Images of the model's size, at least one.
open_images:
    lea     rdi, [rbx + split.image_path]
    call    idx_map
    mov     [rbx + split.images], rax
    mov     rcx, [idx_shape + 8]
    mov     [rbx + split.count], rcx
    cmp     qword [idx_shape], 2
    jb      .rank
    call    image_fits
    jne     .size
    cmp     qword [rbx + split.count], 0
    je      .empty
    ret
.rank:
    lea     rdx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s has rank 1: images have rank 2 or more", rdx
.size:
    lea     rdx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s has shape %d, but %s takes [n, %u, %u, %u] (n, channels, height, width; leading ones behind n are free)", \
            rdx, idx_shape, model_name, [model_channels], [model_height], [model_width]
.empty:
    lea     rdx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s holds no images", rdx

; image_fits:  ->  ZF where the extents behind n are the model's, but for leading ones
image_fits:
    lea     rsi, [idx_shape]
    mov     rcx, [rsi]                  ; the extent to compare next, from the last to 2, the one behind n
    lea     rdi, [image_extents]
.extent:
    mov     eax, 1                      ; an extent that is not there counts as one, on both sides
    mov     rdx, [rdi]
    test    rdx, rdx
    jz      .wanted
    mov     rax, [rdx]
    add     rdi, 8
.wanted:
    mov     edx, 1
    cmp     rcx, 2
    jb      .compare
    mov     rdx, [rsi + rcx * 8]
    dec     rcx
.compare:
    cmp     rdx, rax
    jne     .return
    cmp     rcx, 2
    jae     .extent
    cmp     qword [rdi], 0
    jne     .extent
.return:
    ret

; open_labels: rbx -> split with its images. A label for each, all of them classes of the model.
open_labels:
    lea     rdi, [rbx + split.label_path]
    call    idx_map
    mov     rdx, rax
    mov     [rbx + split.labels], rdx
    mov     rcx, [idx_shape]
    cmp     rcx, 1
    jne     .rank
    mov     rax, [idx_shape + 8]
    cmp     rax, [rbx + split.count]
    jne     .count
    xor     ecx, ecx
    mov     r8, [model_classes]
.label:
    movzx   r9d, byte [rdx + rcx]
    cmp     r9, r8
    jae     .label_out
    inc     rcx
    cmp     rcx, rax
    jb      .label
    ret
.rank:
    lea     rdx, [rbx + split.label_path]
    FAIL    EXIT_FAILED, "%s has rank %u: labels have rank 1", rdx, rcx
.count:
    lea     rdx, [rbx + split.label_path]
    lea     rcx, [rbx + split.image_path]
    FAIL    EXIT_FAILED, "%s holds %u labels, but %s holds %u images: they must be equal", rdx, rax, rcx, [rbx + split.count]
.label_out:
    lea     rdx, [rbx + split.label_path]
    dec     r8
    FAIL    EXIT_FAILED, "%s: label %u of sample %u is not a class of %s, whose classes are 0 to %u", \
            rdx, r9, rcx, model_name, r8

; validation_open: which samples the epochs are judged by, and how many are left to train on
validation_open:
    mov     rax, [train_split + split.count]
    mov     [train_count], rax
    mov     rcx, [model_validation_source]
    cmp     rcx, VALIDATION_NONE
    je      .return
    lea     rdx, [train_split]
    cmp     rcx, VALIDATION_TRAIN
    je      .range
    lea     rdx, [test_split]
.range:
    mov     [validation_split], rdx
    mov     r8, [model_validation_begin]
    mov     r9, [model_validation_end]
    test    r9, r9
    cmovs   r9, [rdx + split.count]     ; -1: to the end
    mov     [validation_begin], r8
    mov     [validation_end], r9
    cmp     r9, [rdx + split.count]
    ja      .outside
    cmp     r8, r9
    jae     .outside
    cmp     rcx, VALIDATION_TRAIN
    jne     .return
    sub     r9, r8
    sub     [train_count], r9
    jz      .nothing_left
.return:
    ret
.outside:
    FAIL    EXIT_FAILED, "the validation samples %u to %u (exclusive) of %s do not exist: the %s images in %s are %u", \
            r8, r9, model_name, [rdx + split.name], data_directory, [rdx + split.count]
.nothing_left:
    FAIL    EXIT_FAILED, "the validation samples of %s are all %u training images in %s: none is left to train on", \
            model_name, [train_split + split.count], data_directory
