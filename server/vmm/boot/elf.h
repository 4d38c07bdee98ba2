// The loader's plan for one static x86-64 ELF file: which bytes of the file go where in the guest, where it
// starts. Pure: the first bytes of the file and its length in, a plan or a sentence out. Called by boot/cell
// for kernel and program; the file is hostile.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define ELF_HEAD_MAX     4096u // header and program headers must lie in the first 4 KiB
#define ELF_SEGMENTS_MAX 16u

// What the file may ask for. A position-independent program is placed at pie_base; 0 = only fixed addresses.
struct elf_limits {
    const char *what; // "program" or "kernel", for the sentences
    uint64_t min_gpa, end_gpa;
    uint64_t pie_base;
};

struct elf_segment {
    uint64_t gpa;
    uint64_t mem_len;
    uint64_t file_offset;
    uint64_t file_len; // <= mem_len; the rest is zero
};

struct elf_plan {
    struct elf_segment segments[ELF_SEGMENTS_MAX]; // ascending, without overlaps
    size_t n_segments;
    uint64_t base;  // what was added to the file's addresses
    uint64_t entry; // inside an executable segment
    uint64_t phdr;  // where the program headers are in the guest; 0 = in no segment
    uint16_t phnum;
    uint64_t end; // first byte after the last segment
};

// head: the first min(file_len, ELF_HEAD_MAX) bytes. 0, or -ENOEXEC with a sentence that says what the file
// is and what to do about it; *ret is untouched then.
int elf_plan(const uint8_t *head, size_t head_len, uint64_t file_len, const struct elf_limits *limits,
             struct elf_plan *ret, struct err *err);
