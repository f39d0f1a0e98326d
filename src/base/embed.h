/* Files of this repository that are compiled into the program, so that it is complete on its own.
 * The assembler reads them at compile time, from the root of the repository; the Makefile knows
 * which objects depend on which files. */
#ifndef OCTET_BASE_EMBED_H
#define OCTET_BASE_EMBED_H

/* Defines NAME_begin and NAME_end around the bytes of the file at PATH, with a NUL behind, so that
 * a text can be used as a string. The symbols are hidden rather than local, so that link-time
 * optimisation may move their users away from the data. */
#define EMBED(name, path)                                                                          \
    __asm__(".pushsection .rodata.embedded,\"a\",%progbits\n"                                      \
            ".balign 16\n"                                                                         \
            ".globl " #name "_begin\n.hidden " #name "_begin\n"                                    \
            ".globl " #name "_end\n.hidden " #name "_end\n" #name "_begin:\n"                      \
            ".incbin \"" path "\"\n" #name "_end:\n"                                               \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char name##_begin[] __attribute__((visibility("hidden")));                        \
    extern const char name##_end[] __attribute__((visibility("hidden")))

#endif
