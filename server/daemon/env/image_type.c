// Owns the look at an uploaded file that tells programs, kernels, disks, archives and manifests apart. Called
// by images.c. The bytes are untrusted; envvm checks a program or kernel again before it loads it.
#include "env/image_type.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"

#define PHDRS_MAX 128
#define HEAD_LEN  2048 // covers the magic numbers below

// Linux' upper half: where an ELF kernel is linked to run, and no program.
#define KERNEL_VADDR 0xffff800000000000ull

struct head {
    union {
        Elf64_Ehdr elf;
        unsigned char bytes[HEAD_LEN];
    };
    size_t len;
};

// Magic numbers at fixed places. What a file is not: that it can be started in a cell.
static const struct magic {
    size_t at;
    const char *bytes;
    size_t len;
    enum image_type type;
    const char *note;
} magics[] = {
    {0, "070701", 6, IMAGE_CPIO_NEWC, "is a cpio archive, not a program"},
    {0, "\x1f\x8b", 2, IMAGE_INITRD, "is a compressed archive (gzip), not a program"},
    {0, "\x28\xb5\x2f\xfd", 4, IMAGE_INITRD, "is a compressed archive (zstd), not a program"},
    {0,
     "\xfd"
     "7zXZ",
     5, IMAGE_INITRD, "is a compressed archive (xz), not a program"},
    {0, "\x02\x21\x4c\x18", 4, IMAGE_INITRD, "is a compressed archive (lz4), not a program"},
    {0, "BZh", 3, IMAGE_INITRD, "is a compressed archive (bzip2), not a program"},
    {0, "\x5d\x00\x00", 3, IMAGE_INITRD, "is a compressed archive (lzma), not a program"},
    {0, "\x89LZO", 4, IMAGE_INITRD, "is a compressed archive (lzo), not a program"},
    {0, "#!", 2, IMAGE_OTHER, "is a script: what runs in a cell is one static program"},
    {0x202, "HdrS", 4, IMAGE_KERNEL, "is a Linux kernel (bzImage), not a program"},
    // Last, for it is only two bytes.
    {0x438, "\x53\xef", 2, IMAGE_DISK, "is an ext4 file system, not a program"},
};

// A longer text is cut.
static void say(struct image_kind *kind, enum image_type type, const char *text)
{
    kind->type = type;
    snprintf(kind->note, sizeof kind->note, "%.*s", (int)sizeof kind->note - 1, text);
}

static void probe_headers(int fd, const Elf64_Ehdr *untrusted, struct image_kind *kind)
{
    Elf64_Phdr headers[PHDRS_MAX];
    if (untrusted->e_phentsize != sizeof headers[0] || untrusted->e_phnum == 0 ||
        untrusted->e_phnum > PHDRS_MAX) {
        say(kind, IMAGE_ELF, "is an ELF file without usable program headers");
        return;
    }
    size_t len = untrusted->e_phnum * sizeof headers[0];
    if (untrusted->e_phoff > INT64_MAX - len ||
        pread(fd, headers, len, (off_t)untrusted->e_phoff) != (ssize_t)len) {
        say(kind, IMAGE_ELF, "is a truncated ELF file: its program headers are missing");
        return;
    }
    int n_load = 0;
    bool kernel = false;
    for (size_t i = 0; i < untrusted->e_phnum; i++) {
        if (headers[i].p_type == PT_INTERP) {
            say(kind, IMAGE_ELF, "is a dynamically linked program: it asks for an interpreter");
            return;
        }
        n_load += headers[i].p_type == PT_LOAD;
        kernel |= headers[i].p_type == PT_LOAD && headers[i].p_vaddr >= KERNEL_VADDR;
    }
    if (n_load == 0 || untrusted->e_entry == 0)
        say(kind, IMAGE_ELF, "is an ELF file without anything to start: an object file or a shared library");
    else if (kernel)
        say(kind, IMAGE_KERNEL, "is a Linux kernel (vmlinux), not a program");
    else
        say(kind, IMAGE_STATIC_ELF, "");
}

static void probe_elf(int fd, const struct head *head, struct image_kind *kind)
{
    const Elf64_Ehdr *untrusted = &head->elf;
    if (head->len < sizeof *untrusted)
        say(kind, IMAGE_ELF, "is a truncated ELF file");
    else if (untrusted->e_ident[EI_CLASS] != ELFCLASS64 || untrusted->e_ident[EI_DATA] != ELFDATA2LSB ||
             untrusted->e_machine != EM_X86_64)
        say(kind, IMAGE_ELF, "is an ELF file for another machine than x86-64");
    else if (untrusted->e_type != ET_EXEC && untrusted->e_type != ET_DYN)
        say(kind, IMAGE_ELF, "is an ELF file, but no program: an object file or a core dump");
    else
        probe_headers(fd, untrusted, kind);
}

// What begins like JSON and speaks of our format is held to it; other JSON is just some file.
static void probe_manifest(int fd, struct image_kind *kind)
{
    struct stat st;
    struct err err;
    if (fstat(fd, &st) < 0 || st.st_size > MANIFEST_MAX)
        return;
    size_t len = (size_t)st.st_size;
    _cleanup_free_ char *text = malloc(len + 1);
    if (!text || pread(fd, text, len, 0) != (ssize_t)len ||
        !memmem(text, len, "\"envd\":", strlen("\"envd\":")))
        return;
    if (manifest_parse(text, len, &kind->manifest, &err) == 0) {
        say(kind, IMAGE_LINUX, "is a Linux image, not a program");
        return;
    }
    say(kind, IMAGE_OTHER, err.text);
    kind->bad_manifest = true;
}

void image_type_probe(int fd, struct image_kind *ret)
{
    struct head head = {0};
    ssize_t n = pread(fd, head.bytes, sizeof head.bytes, 0);
    head.len = n > 0 ? (size_t)n : 0;
    *ret = (struct image_kind){.type = IMAGE_OTHER};
    say(ret, IMAGE_OTHER, "is not an ELF file");
    if (head.len >= SELFMAG && memcmp(head.bytes, ELFMAG, SELFMAG) == 0) {
        probe_elf(fd, &head, ret);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(magics); i++) {
        const struct magic *m = &magics[i];
        if (range_inside(m->at, m->len, head.len) && memcmp(head.bytes + m->at, m->bytes, m->len) == 0) {
            say(ret, m->type, m->note);
            return;
        }
    }
    if (head.len > 0 && head.bytes[0] == '{')
        probe_manifest(fd, ret);
}

static const char *const names[] = {
    [IMAGE_STATIC_ELF] = "static-elf", [IMAGE_ELF] = "elf",       [IMAGE_CPIO_NEWC] = "cpio-newc",
    [IMAGE_KERNEL] = "kernel",         [IMAGE_INITRD] = "initrd", [IMAGE_DISK] = "disk",
    [IMAGE_LINUX] = "linux",           [IMAGE_OTHER] = "other"};

const char *image_type_name(enum image_type type)
{
    return names[type];
}

bool image_type_fits(const char *type, enum manifest_part part)
{
    // An initrd may begin with an uncompressed archive: microcode, as Debian's do.
    return strcmp(type, manifest_part_name(part)) == 0 ||
           (part == MANIFEST_INITRD && strcmp(type, names[IMAGE_CPIO_NEWC]) == 0);
}
