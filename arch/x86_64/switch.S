// Context switches on x86_64.
//
// A goroutine that is not running is one word: its stack pointer. Below it lie, from low to high:
//
//     sp -> mxcsr (4 bytes), x87 control word (2), padding (2)
//           r15 r14 r13 r12 rbx rbp
//           return address
//
// arch/x86_64/context.h describes the same frame to C++ and asserts nothing differs.
//
// The psABI makes the control bits of mxcsr and the x87 control word callee-saved, so they belong
// to the goroutine: a rounding mode set by one is not seen by another. Loading them costs 3 ns, so
// it is done only when they differ; the status bits of mxcsr (caller-saved) stay with the thread.
//
// No CET note: these routines keep no shadow stack.

#define SAVE_CONTEXT                      \
        pushq   %rbp                    ; \
        .cfi_adjust_cfa_offset 8        ; \
        .cfi_rel_offset %rbp, 0         ; \
        pushq   %rbx                    ; \
        .cfi_adjust_cfa_offset 8        ; \
        .cfi_rel_offset %rbx, 0         ; \
        pushq   %r12                    ; \
        .cfi_adjust_cfa_offset 8        ; \
        .cfi_rel_offset %r12, 0         ; \
        pushq   %r13                    ; \
        .cfi_adjust_cfa_offset 8        ; \
        .cfi_rel_offset %r13, 0         ; \
        pushq   %r14                    ; \
        .cfi_adjust_cfa_offset 8        ; \
        .cfi_rel_offset %r14, 0         ; \
        pushq   %r15                    ; \
        .cfi_adjust_cfa_offset 8        ; \
        .cfi_rel_offset %r15, 0         ; \
        subq    $8, %rsp                ; \
        .cfi_adjust_cfa_offset 8        ; \
        stmxcsr (%rsp)                  ; \
        fnstcw  4(%rsp)

// The CFI of both sides of a switch is the same, since the frames are.
#define RESTORE_CONTEXT                   \
        addq    $8, %rsp                ; \
        .cfi_adjust_cfa_offset -8       ; \
        popq    %r15                    ; \
        .cfi_adjust_cfa_offset -8       ; \
        .cfi_restore %r15               ; \
        popq    %r14                    ; \
        .cfi_adjust_cfa_offset -8       ; \
        .cfi_restore %r14               ; \
        popq    %r13                    ; \
        .cfi_adjust_cfa_offset -8       ; \
        .cfi_restore %r13               ; \
        popq    %r12                    ; \
        .cfi_adjust_cfa_offset -8       ; \
        .cfi_restore %r12               ; \
        popq    %rbx                    ; \
        .cfi_adjust_cfa_offset -8       ; \
        .cfi_restore %rbx               ; \
        popq    %rbp                    ; \
        .cfi_adjust_cfa_offset -8       ; \
        .cfi_restore %rbp               ; \
        retq

        .text

// void* weft_switch(void** save_sp, void* load_sp, void* pass)
// Saves the caller's context on its stack and its sp in *save_sp, goes on where load_sp was saved.
// There the call that saved it returns `pass`.
// In: rdi, rsi, rdx. Out: rax. Clobbers all caller-saved registers.
        .globl  weft_switch
        .hidden weft_switch
        .type   weft_switch, @function
        .p2align 4
weft_switch:
        .cfi_startproc
        SAVE_CONTEXT
        movl    (%rsp), %r8d            // what the CPU holds now: the saved words
        movzwl  4(%rsp), %r9d
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        movq    %rdx, %rax
        xorl    (%rsp), %r8d
        testl   $0xffc0, %r8d           // the low six bits are status
        jne     1f
        cmpw    4(%rsp), %r9w
        jne     1f
2:      RESTORE_CONTEXT
        .cfi_endproc
        // The slow way has CFI of its own kind: seven words above rsp, as saved.
        .cfi_startproc
        .cfi_def_cfa %rsp, 64
        .cfi_offset %rbp, -16
        .cfi_offset %rbx, -24
        .cfi_offset %r12, -32
        .cfi_offset %r13, -40
        .cfi_offset %r14, -48
        .cfi_offset %r15, -56
1:      ldmxcsr (%rsp)
        fldcw   4(%rsp)
        jmp     2b
        .cfi_endproc
        .size   weft_switch, .-weft_switch

// void* weft_mcall(void** save_sp, void* g0_sp, void (*fn)(void*), void* arg)
// Saves the caller's context like weft_switch, then calls fn(arg) on the stack g0_sp, whose
// earlier content is dropped. fn does not return; the call returns when somebody switches to
// the saved context, with what they pass.
        .globl  weft_mcall
        .hidden weft_mcall
        .type   weft_mcall, @function
        .p2align 4
weft_mcall:
        .cfi_startproc
        SAVE_CONTEXT
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        movq    %rcx, %rdi
        jmp     weft_g0_base
        .cfi_endproc
        .size   weft_mcall, .-weft_mcall

// The outermost frame of a system stack: unwinding ends here.
        .type   weft_g0_base, @function
weft_g0_base:
        .cfi_startproc
        .cfi_undefined %rip
        callq   *%rdx
        ud2
        .cfi_endproc
        .size   weft_g0_base, .-weft_g0_base

// [[noreturn]] void weft_gogo(void* load_sp, void* pass)
// Goes on where load_sp was saved; the running context is dropped.
        .globl  weft_gogo
        .hidden weft_gogo
        .type   weft_gogo, @function
        .p2align 4
weft_gogo:
        .cfi_startproc
        movq    %rdi, %rsp
        .cfi_def_cfa %rsp, 64
        .cfi_offset %rbp, -16
        .cfi_offset %rbx, -24
        .cfi_offset %r12, -32
        .cfi_offset %r13, -40
        .cfi_offset %r14, -48
        .cfi_offset %r15, -56
        movq    %rsi, %rax
        ldmxcsr (%rsp)
        fldcw   4(%rsp)
        RESTORE_CONTEXT
        .cfi_endproc
        .size   weft_gogo, .-weft_gogo

// void weft_call_on_stack(void* sp, void (*fn)(void*), void* arg)
// Calls fn(arg) on another stack and comes back. rbp links the two, so unwinding crosses.
        .globl  weft_call_on_stack
        .hidden weft_call_on_stack
        .type   weft_call_on_stack, @function
        .p2align 4
weft_call_on_stack:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        movq    %rsp, %rbp
        .cfi_def_cfa_register %rbp
        movq    %rdi, %rsp
        movq    %rdx, %rdi
        callq   *%rsi
        movq    %rbp, %rsp
        popq    %rbp
        .cfi_def_cfa %rsp, 8
        .cfi_restore %rbp
        retq
        .cfi_endproc
        .size   weft_call_on_stack, .-weft_call_on_stack

// Where a new goroutine begins: weft_switch and weft_gogo jump here with `pass` (its M) in rax
// and rsp at the top of its stack, 16-byte aligned. The outermost frame: unwinding ends here, so
// that an exception finds no handler and std::terminate sees the whole stack.
        .globl  weft_gostart
        .hidden weft_gostart
        .type   weft_gostart, @function
        .p2align 4
weft_gostart:
        .cfi_startproc
        .cfi_undefined %rip
        movq    %rax, %rdi
        xorl    %ebp, %ebp
        callq   weft_goroutine_main
        ud2
        .cfi_endproc
        .size   weft_gostart, .-weft_gostart

// [[noreturn]] void weft_restart(void* stack_top, void* pass)
// Begins a new goroutine on the stack that the running one gives up.
        .globl  weft_restart
        .hidden weft_restart
        .type   weft_restart, @function
weft_restart:
        .cfi_startproc
        .cfi_undefined %rip
        movq    %rdi, %rsp
        movq    %rsi, %rax
        pushq   $0x1f80                 // the ABI's first mxcsr and x87 control word
        ldmxcsr (%rsp)
        movq    $0x037f, (%rsp)
        fldcw   (%rsp)
        addq    $8, %rsp
        jmp     weft_gostart
        .cfi_endproc
        .size   weft_restart, .-weft_restart

// M* weft_get_m(): the calling thread's M, null on a plain thread.
// The only way to thread-local state. It is assembly so that no optimizer, not even at link time,
// keeps the answer, or the thread pointer, over a switch that changed the thread.
        .globl  weft_get_m
        .hidden weft_get_m
        .type   weft_get_m, @function
        .p2align 4
weft_get_m:
        .cfi_startproc
        movq    weft_tls_m@gottpoff(%rip), %rax
        movq    %fs:(%rax), %rax
        retq
        .cfi_endproc
        .size   weft_get_m, .-weft_get_m

// void weft_set_m(M*)
        .globl  weft_set_m
        .hidden weft_set_m
        .type   weft_set_m, @function
weft_set_m:
        .cfi_startproc
        movq    weft_tls_m@gottpoff(%rip), %rax
        movq    %rdi, %fs:(%rax)
        retq
        .cfi_endproc
        .size   weft_set_m, .-weft_set_m

// void* weft_get_thread_g(), void weft_set_thread_g(void*): a plain thread's stand-in goroutine.
        .globl  weft_get_thread_g
        .hidden weft_get_thread_g
        .type   weft_get_thread_g, @function
weft_get_thread_g:
        .cfi_startproc
        movq    weft_tls_thread_g@gottpoff(%rip), %rax
        movq    %fs:(%rax), %rax
        retq
        .cfi_endproc
        .size   weft_get_thread_g, .-weft_get_thread_g

        .globl  weft_set_thread_g
        .hidden weft_set_thread_g
        .type   weft_set_thread_g, @function
weft_set_thread_g:
        .cfi_startproc
        movq    weft_tls_thread_g@gottpoff(%rip), %rax
        movq    %rdi, %fs:(%rax)
        retq
        .cfi_endproc
        .size   weft_set_thread_g, .-weft_set_thread_g

        .section .tbss, "awT", @nobits
        .p2align 3
        .type   weft_tls_m, @object
        .size   weft_tls_m, 8
weft_tls_m:
        .zero   8
        .type   weft_tls_thread_g, @object
        .size   weft_tls_thread_g, 8
weft_tls_thread_g:
        .zero   8

        .section .note.GNU-stack, "", @progbits
