// What prologues of GCC's -fsplit-stack call; see runtime/newstack.cc.
//
// Such a prologue compares sp with %fs:0x70, the thread's slot. Below it, it goes
//
//         movl    $frame, %r10d
//         movl    $args, %r11d
//         callq   __morestack
//         retq                            // when the function has returned, if it had a stack
//         endbr64                         // with -fcf-protection
//         movq    %rax, %r10              // in nested functions of variable arguments
//         leaq    24(%rbp), %r11          // in all of those: where the arguments are
//         ...                             // the body
//
// and expects everything as it was behind the `retq`. The function stays on its stack here, so that
// the `leaq` would be wrong: r11 is set as the fast path sets it, and what stands before the body
// skipped.

#define ARGUMENTS 128                   // rax rdi rsi rdx rcx r8 r9 r10, how wide vectors are
#define VECTORS 512                     // zmm0 .. zmm7

// Eight vectors to or from the stack.
#define EACH_VECTOR(op)                   \
        op(0); op(1); op(2); op(3)      ; \
        op(4); op(5); op(6); op(7)
#define SAVE_XMM(i) movaps %xmm##i, i*64(%rsp)
#define SAVE_YMM(i) vmovaps %ymm##i, i*64(%rsp)
#define SAVE_ZMM(i) vmovaps %zmm##i, i*64(%rsp)
#define LOAD_XMM(i) movaps i*64(%rsp), %xmm##i
#define LOAD_YMM(i) vmovaps i*64(%rsp), %ymm##i
#define LOAD_ZMM(i) vmovaps i*64(%rsp), %zmm##i

        .text

// In: all that a function may be given. Out: the same. Clobbers r11.
        .globl  __morestack
        .type   __morestack, @function
        .p2align 4
__morestack:
        .cfi_startproc
        cmpq    $0, %fs:0x70            // see __morestack_non_split
        je      4f
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        subq    $(ARGUMENTS + VECTORS), %rsp
        andq    $-64, %rsp
        movq    %rax, VECTORS(%rsp)     // varargs: how many vectors; or the static chain
        movq    %rdi, VECTORS+8(%rsp)
        movq    %rsi, VECTORS+16(%rsp)
        movq    %rdx, VECTORS+24(%rsp)
        movq    %rcx, VECTORS+32(%rsp)
        movq    %r8, VECTORS+40(%rsp)
        movq    %r9, VECTORS+48(%rsp)
        movq    %r10, VECTORS+56(%rsp)
        movzbl  weft_vector_bytes(%rip), %r10d
        cmpb    $0, weft_tells_vectors_in_use(%rip)
        je      0f
        movl    $1, %ecx
        xgetbv                          // the upper halves that are not 0: ymm's, zmm's
        testl   $0x44, %eax             // loading them would make SSE code slow that has none
        movl    $16, %eax
        cmovzl  %eax, %r10d
0:      movl    %r10d, VECTORS+64(%rsp)
        cmpl    $32, %r10d
        ja      2f
        je      1f
        EACH_VECTOR(SAVE_XMM)
        jmp     3f
1:      EACH_VECTOR(SAVE_YMM)
        vzeroupper
        jmp     3f
2:      EACH_VECTOR(SAVE_ZMM)
        vzeroupper
3:      leaq    8(%rbp), %rdi
        callq   weft_newstack
        cmpl    $32, VECTORS+64(%rsp)
        ja      2f
        je      1f
        EACH_VECTOR(LOAD_XMM)
        jmp     3f
1:      EACH_VECTOR(LOAD_YMM)
        jmp     3f
2:      EACH_VECTOR(LOAD_ZMM)
3:      movq    VECTORS(%rsp), %rax
        movq    VECTORS+8(%rsp), %rdi
        movq    VECTORS+16(%rsp), %rsi
        movq    VECTORS+24(%rsp), %rdx
        movq    VECTORS+32(%rsp), %rcx
        movq    VECTORS+40(%rsp), %r8
        movq    VECTORS+48(%rsp), %r9
        movq    VECTORS+56(%rsp), %r10
        movq    %rbp, %rsp
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
4:      addq    $1, (%rsp)
        movq    (%rsp), %r11
        cmpl    $0xfa1e0ff3, (%r11)     // endbr64
        jne     5f
        addq    $4, %r11
5:      cmpl    $0x185d8d4c, (%r11)     // leaq 24(%rbp), %r11
        je      6f
        cmpl    $0x4cc28949, (%r11)     // movq %rax, %r10, and the first byte of that
        jne     7f
        cmpl    $0x185d8d4c, 3(%r11)
        jne     7f
        movq    %rax, %r10
        addq    $3, %r11
6:      addq    $4, %r11
        movq    %r11, (%rsp)
        leaq    16(%rsp), %r11          // above the function's return address
7:      retq
        .cfi_endproc
        .size   __morestack, .-__morestack

// What lld lets each function call that calls code without such prologues: always, whatever the
// slot says, as there the stack would have to be a large one.
        .globl  __morestack_non_split
        .set    __morestack_non_split, __morestack

// void* __morestack_allocate_stack_space(size_t size)
// What alloca calls when its block would reach below the slot. The block is put where alloca would
// put it, on the caller's stack, page by page, so that none can jump over the guard. Whoever calls
// alloca has a frame pointer and pushes its calls' arguments (-mno-accumulate-outgoing-args).
        .globl  __morestack_allocate_stack_space
        .type   __morestack_allocate_stack_space, @function
        .p2align 4
__morestack_allocate_stack_space:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        pushq   %rdi
        subq    $8, %rsp
        leaq    8(%rbp), %rdi
        callq   weft_newstack
        movq    -8(%rbp), %rdi
        movq    %rbp, %rsp
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register %rip, %rcx
        movq    %rsp, %r8
        .cfi_def_cfa_register %r8
        addq    $63, %rdi               // sp stays aligned as its caller has made it
        andq    $-64, %rdi
        movq    %rsp, %rax
        jz      3f
        subq    %rdi, %rax
1:      leaq    -4096(%rsp), %rdx
        cmpq    %rax, %rdx
        jbe     2f
        movq    %rdx, %rsp
        orq     $0, (%rsp)
        jmp     1b
2:      movq    %rax, %rsp
        orq     $0, (%rsp)
3:      jmpq    *%rcx
        .cfi_endproc
        .size   __morestack_allocate_stack_space, .-__morestack_allocate_stack_space

        .section .note.GNU-stack, "", @progbits
