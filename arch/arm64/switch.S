// Context switches on arm64.
//
// A goroutine that is not running is one word: its stack pointer. Below it lie, from low to high:
//
//     sp -> fpcr (8 bytes), padding (8)
//           x19 .. x28, x29 (frame pointer), x30 (where it goes on)
//           d8 .. d15
//
// arch/arm64/context.h describes the same frame to C++ and asserts nothing differs.
//
// AAPCS64 makes the low halves of v8 .. v15 callee-saved, and lets no function change fpcr but for
// its caller: so both belong to the goroutine. Writing fpcr may drain the pipeline, so it is done
// only when it differs; fpsr stays with the thread.
//
// A context is entered by `ret`, which needs no landing pad under BTI; functions that are called
// through pointers have one. Return addresses are not signed: a context moves between threads, and
// others walk it.

#define CONTEXT_SIZE 176

// In: x29, x30 and the callee-saved are the caller's. Clobbers x9.
#define SAVE_CONTEXT                              \
        sub     sp, sp, #CONTEXT_SIZE           ; \
        .cfi_adjust_cfa_offset CONTEXT_SIZE     ; \
        stp     x19, x20, [sp, #16]             ; \
        stp     x21, x22, [sp, #32]             ; \
        stp     x23, x24, [sp, #48]             ; \
        stp     x25, x26, [sp, #64]             ; \
        stp     x27, x28, [sp, #80]             ; \
        stp     x29, x30, [sp, #96]             ; \
        stp     d8, d9, [sp, #112]              ; \
        stp     d10, d11, [sp, #128]            ; \
        stp     d12, d13, [sp, #144]            ; \
        stp     d14, d15, [sp, #160]            ; \
        mrs     x9, fpcr                        ; \
        str     x9, [sp]                        ; \
        CONTEXT_CFI

// Where a saved context keeps what; the frames of both sides of a switch are the same.
#define CONTEXT_CFI                               \
        .cfi_rel_offset x19, 16                 ; \
        .cfi_rel_offset x20, 24                 ; \
        .cfi_rel_offset x21, 32                 ; \
        .cfi_rel_offset x22, 40                 ; \
        .cfi_rel_offset x23, 48                 ; \
        .cfi_rel_offset x24, 56                 ; \
        .cfi_rel_offset x25, 64                 ; \
        .cfi_rel_offset x26, 72                 ; \
        .cfi_rel_offset x27, 80                 ; \
        .cfi_rel_offset x28, 88                 ; \
        .cfi_rel_offset x29, 96                 ; \
        .cfi_rel_offset x30, 104                ; \
        .cfi_rel_offset d8, 112                 ; \
        .cfi_rel_offset d9, 120                 ; \
        .cfi_rel_offset d10, 128                ; \
        .cfi_rel_offset d11, 136                ; \
        .cfi_rel_offset d12, 144                ; \
        .cfi_rel_offset d13, 152                ; \
        .cfi_rel_offset d14, 160                ; \
        .cfi_rel_offset d15, 168

// What is loaded is also still in the frame: the rules above hold until sp moves.
#define RESTORE_CONTEXT                           \
        ldp     x19, x20, [sp, #16]             ; \
        ldp     x21, x22, [sp, #32]             ; \
        ldp     x23, x24, [sp, #48]             ; \
        ldp     x25, x26, [sp, #64]             ; \
        ldp     x27, x28, [sp, #80]             ; \
        ldp     x29, x30, [sp, #96]             ; \
        ldp     d8, d9, [sp, #112]              ; \
        ldp     d10, d11, [sp, #128]            ; \
        ldp     d12, d13, [sp, #144]            ; \
        ldp     d14, d15, [sp, #160]            ; \
        add     sp, sp, #CONTEXT_SIZE           ; \
        .cfi_def_cfa sp, 0                      ; \
        .cfi_restore x19                        ; \
        .cfi_restore x20                        ; \
        .cfi_restore x21                        ; \
        .cfi_restore x22                        ; \
        .cfi_restore x23                        ; \
        .cfi_restore x24                        ; \
        .cfi_restore x25                        ; \
        .cfi_restore x26                        ; \
        .cfi_restore x27                        ; \
        .cfi_restore x28                        ; \
        .cfi_restore x29                        ; \
        .cfi_restore x30                        ; \
        .cfi_restore d8                         ; \
        .cfi_restore d9                         ; \
        .cfi_restore d10                        ; \
        .cfi_restore d11                        ; \
        .cfi_restore d12                        ; \
        .cfi_restore d13                        ; \
        .cfi_restore d14                        ; \
        .cfi_restore d15                        ; \
        ret

#define FUNCTION(name)                            \
        .globl  name                            ; \
        .hidden name                            ; \
        .type   name, %function                 ; \
        .p2align 4                              ; \
name:                                           ; \
        .cfi_startproc                          ; \
        bti     c

#define END(name)                                 \
        .cfi_endproc                            ; \
        .size   name, .-name

        .arch   armv8.5-a
        .text

// void* weft_switch(void** save_sp, void* load_sp, void* pass)
// Saves the caller's context on its stack and its sp in *save_sp, goes on where load_sp was saved.
// There the call that saved it returns `pass`.
// In: x0, x1, x2. Out: x0. Clobbers all caller-saved registers.
FUNCTION(weft_switch)
        SAVE_CONTEXT
        mov     x10, sp
        str     x10, [x0]
        mov     sp, x1
        mov     x0, x2
        ldr     x10, [sp]
        cmp     x9, x10
        b.ne    1f
2:
        .cfi_remember_state
        RESTORE_CONTEXT
        .cfi_restore_state
1:      msr     fpcr, x10
        b       2b
END(weft_switch)

// void* weft_mcall(void** save_sp, void* g0_sp, void (*fn)(void*), void* arg)
// Saves the caller's context like weft_switch, then calls fn(arg) on the stack g0_sp, whose
// earlier content is dropped. fn does not return; the call returns when somebody switches to
// the saved context, with what they pass.
FUNCTION(weft_mcall)
        SAVE_CONTEXT
        mov     x10, sp
        str     x10, [x0]
        mov     sp, x1
        mov     x0, x3
        b       weft_g0_base
END(weft_mcall)

// The outermost frame of a system stack: unwinding ends here.
        .type   weft_g0_base, %function
weft_g0_base:
        .cfi_startproc
        .cfi_undefined x30
        mov     x29, xzr
        blr     x2
        brk     #1
        .cfi_endproc
        .size   weft_g0_base, .-weft_g0_base

// [[noreturn]] void weft_gogo(void* load_sp, void* pass)
// Goes on where load_sp was saved; the running context is dropped.
FUNCTION(weft_gogo)
        mov     sp, x0
        .cfi_def_cfa sp, CONTEXT_SIZE
        CONTEXT_CFI
        mov     x0, x1
        ldr     x10, [sp]
        msr     fpcr, x10
        RESTORE_CONTEXT
END(weft_gogo)

// void weft_call_on_stack(void* sp, void (*fn)(void*), void* arg)
// Calls fn(arg) on another stack and comes back. x29 links the two, so unwinding crosses.
FUNCTION(weft_call_on_stack)
        stp     x29, x30, [sp, #-16]!
        .cfi_def_cfa_offset 16
        .cfi_offset x29, -16
        .cfi_offset x30, -8
        mov     x29, sp
        .cfi_def_cfa_register x29
        mov     sp, x0
        mov     x0, x2
        blr     x1
        mov     sp, x29
        .cfi_def_cfa_register sp
        ldp     x29, x30, [sp], #16
        .cfi_def_cfa_offset 0
        .cfi_restore x29
        .cfi_restore x30
        ret
END(weft_call_on_stack)

// Where a new goroutine begins: weft_switch and weft_gogo come here with `pass` (its M) in x0
// and sp at the top of its stack. The outermost frame: unwinding ends here, so that an exception
// finds no handler and std::terminate sees the whole stack.
FUNCTION(weft_gostart)
        .cfi_undefined x30
        mov     x29, xzr
        bl      weft_goroutine_main
        brk     #1
END(weft_gostart)

// [[noreturn]] void weft_restart(void* stack_top, void* pass)
// Begins a new goroutine on the stack that the running one gives up.
FUNCTION(weft_restart)
        .cfi_undefined x30
        mov     sp, x0
        mov     x0, x1
        msr     fpcr, xzr
        b       weft_gostart
END(weft_restart)

// GETTER(name, word), SETTER(name, word): a thread-local word.
// The only way to thread-local state. It is assembly so that no optimizer, not even at link time,
// keeps the answer, or the thread pointer, over a switch that changed the thread.
#define GETTER(name, word)                        \
FUNCTION(name)                                  ; \
        adrp    x0, :gottprel:word              ; \
        ldr     x0, [x0, #:gottprel_lo12:word]  ; \
        mrs     x1, tpidr_el0                   ; \
        ldr     x0, [x1, x0]                    ; \
        ret                                     ; \
END(name)

#define SETTER(name, word)                        \
FUNCTION(name)                                  ; \
        adrp    x1, :gottprel:word              ; \
        ldr     x1, [x1, #:gottprel_lo12:word]  ; \
        mrs     x2, tpidr_el0                   ; \
        str     x0, [x2, x1]                    ; \
        ret                                     ; \
END(name)

// M* weft_get_m(), void weft_set_m(M*): the calling thread's M, null on a plain thread.
GETTER(weft_get_m, weft_tls_m)
SETTER(weft_set_m, weft_tls_m)

// void* weft_get_thread_g(), void weft_set_thread_g(void*): a plain thread's stand-in goroutine.
GETTER(weft_get_thread_g, weft_tls_thread_g)
SETTER(weft_set_thread_g, weft_tls_thread_g)

        .section .tbss, "awT", %nobits
        .p2align 3
        .type   weft_tls_m, %object
        .size   weft_tls_m, 8
weft_tls_m:
        .zero   8
        .type   weft_tls_thread_g, %object
        .size   weft_tls_thread_g, 8
weft_tls_thread_g:
        .zero   8

        .section .note.GNU-stack, "", %progbits

// Says that indirect calls here land on pads (GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI).
        .section .note.gnu.property, "a"
        .p2align 3
        .word   4, 16, 5
        .asciz  "GNU"
        .word   0xc0000000, 4, 1, 0
