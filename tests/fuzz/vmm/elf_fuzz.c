// Fuzzes the ELF plan (server/vmm/boot/elf.c). Input: u8 selects the limits, u32 file length, then the file's
// first bytes. Whatever is accepted must keep the promises that the loader builds on.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/elf.h"

#define HEADER 5u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void check(const struct elf_plan *p, const struct elf_limits *limits, uint64_t file_len)
{
    require(p->n_segments >= 1 && p->n_segments <= ELF_SEGMENTS_MAX);
    uint64_t end = limits->min_gpa;
    bool has_entry = false;
    for (size_t i = 0; i < p->n_segments; i++) {
        const struct elf_segment *s = &p->segments[i];
        require(s->gpa >= end && s->mem_len > 0 && s->mem_len <= limits->end_gpa - s->gpa);
        require(s->file_len <= s->mem_len);
        require(s->file_len == 0 || (s->file_offset <= file_len && s->file_len <= file_len - s->file_offset));
        has_entry = has_entry || p->entry - s->gpa < s->mem_len;
        end = s->gpa + s->mem_len;
    }
    require(has_entry && p->end == end);
    require(p->phdr == 0 || (p->phdr >= limits->min_gpa && p->phdr + p->phnum * 56ull <= end));
    require(p->base == 0 || p->base == limits->pie_base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct elf_limits limits[] = {
        {.what = "program", .min_gpa = 0x200000, .end_gpa = 32u << 20, .pie_base = 0x400000},
        {.what = "kernel", .min_gpa = 0x30000, .end_gpa = 0x1c0000},
    };
    if (size < HEADER)
        return 0;
    const struct elf_limits *l = &limits[data[0] & 1];
    uint32_t file_len;
    memcpy(&file_len, data + 1, sizeof file_len);
    size_t head_len = size - HEADER < ELF_HEAD_MAX ? size - HEADER : ELF_HEAD_MAX;
    if (head_len > file_len)
        head_len = file_len;
    struct elf_plan plan;
    struct err err = {0};
    if (elf_plan(data + HEADER, head_len, file_len, l, &plan, &err) == 0)
        check(&plan, l, file_len);
    else
        require(err.text[0] != '\0');
    return 0;
}
