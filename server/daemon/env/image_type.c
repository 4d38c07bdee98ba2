// Owns the look at an uploaded file that tells programs and archives apart. Called by images.c. The bytes are
// untrusted; envvm checks a program again before it loads it.
#include "env/image_type.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CPIO_MAGIC "070701"
#define PHDRS_MAX  128

static enum image_type say(char *note, enum image_type type, const char *text)
{
    snprintf(note, IMAGE_NOTE_CAP, "%s", text);
    return type;
}

static enum image_type probe_headers(int fd, const Elf64_Ehdr *untrusted, char *note)
{
    Elf64_Phdr headers[PHDRS_MAX];
    if (untrusted->e_phentsize != sizeof headers[0] || untrusted->e_phnum == 0 ||
        untrusted->e_phnum > PHDRS_MAX)
        return say(note, IMAGE_ELF, "is an ELF file without usable program headers");
    size_t len = untrusted->e_phnum * sizeof headers[0];
    if (untrusted->e_phoff > INT64_MAX - len ||
        pread(fd, headers, len, (off_t)untrusted->e_phoff) != (ssize_t)len)
        return say(note, IMAGE_ELF, "is a truncated ELF file: its program headers are missing");
    int n_load = 0;
    for (size_t i = 0; i < untrusted->e_phnum; i++) {
        if (headers[i].p_type == PT_INTERP)
            return say(note, IMAGE_ELF, "is a dynamically linked program: it asks for an interpreter");
        n_load += headers[i].p_type == PT_LOAD;
    }
    if (n_load == 0 || untrusted->e_entry == 0)
        return say(note, IMAGE_ELF,
                   "is an ELF file without anything to start: an object file or a shared library");
    note[0] = '\0';
    return IMAGE_STATIC_ELF;
}

enum image_type image_type_probe(int fd, char note[IMAGE_NOTE_CAP])
{
    union {
        Elf64_Ehdr elf;
        char bytes[sizeof(Elf64_Ehdr)];
    } untrusted = {0};
    ssize_t n = pread(fd, untrusted.bytes, sizeof untrusted.bytes, 0);
    if (n >= (ssize_t)strlen(CPIO_MAGIC) && memcmp(untrusted.bytes, CPIO_MAGIC, strlen(CPIO_MAGIC)) == 0)
        return say(note, IMAGE_CPIO_NEWC, "is a cpio archive, not a program");
    if (n < (ssize_t)SELFMAG || memcmp(untrusted.bytes, ELFMAG, SELFMAG) != 0)
        return n >= 2 && memcmp(untrusted.bytes, "#!", 2) == 0
                   ? say(note, IMAGE_OTHER, "is a script: what runs in a cell is one static program")
                   : say(note, IMAGE_OTHER, "is not an ELF file");
    if (n < (ssize_t)sizeof untrusted.elf)
        return say(note, IMAGE_ELF, "is a truncated ELF file");
    if (untrusted.elf.e_ident[EI_CLASS] != ELFCLASS64 || untrusted.elf.e_ident[EI_DATA] != ELFDATA2LSB ||
        untrusted.elf.e_machine != EM_X86_64)
        return say(note, IMAGE_ELF, "is an ELF file for another machine than x86-64");
    if (untrusted.elf.e_type != ET_EXEC && untrusted.elf.e_type != ET_DYN)
        return say(note, IMAGE_ELF, "is an ELF file, but no program: an object file or a core dump");
    return probe_headers(fd, &untrusted.elf, note);
}

const char *image_type_name(enum image_type type)
{
    static const char *const names[] = {[IMAGE_STATIC_ELF] = "static-elf",
                                        [IMAGE_ELF] = "elf",
                                        [IMAGE_CPIO_NEWC] = "cpio-newc",
                                        [IMAGE_OTHER] = "other"};
    return names[type];
}
