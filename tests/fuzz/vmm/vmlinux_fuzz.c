// Fuzzes the ELF kernel's plan (server/vmm/boot/vmlinux.c). Input: u32 file length, u16 memory in 16 MiB, u16
// length of the notes, the notes, then the file's first bytes. Whatever is accepted must keep the promises
// that the loader builds on.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/bzimage.h"
#include "boot/vmlinux.h"

#define PREFIX 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise)
        abort();
}

static bool loaded(const struct vmlinux_plan *p, uint64_t gpa)
{
    for (size_t i = 0; i < p->n_segments; i++)
        if (gpa >= p->segments[i].gpa && gpa < p->segments[i].gpa + p->segments[i].file_len)
            return true;
    return false;
}

static void check(const struct vmlinux_plan *p, uint64_t file_len, uint64_t low_end)
{
    uint64_t end = LINUX_HIGH_GPA;
    require(p->n_segments >= 1 && p->n_segments <= VMLINUX_SEGMENTS_MAX);
    for (size_t i = 0; i < p->n_segments; i++) {
        const struct vmlinux_segment *s = &p->segments[i];
        require(s->gpa >= end && s->mem_len >= s->file_len);
        require(s->file_offset <= file_len && s->file_len <= file_len - s->file_offset);
        end = s->gpa + s->mem_len;
    }
    require(p->end == end && end <= low_end);
    require(p->notes_offset <= file_len && p->notes_len <= file_len - p->notes_offset);
    require(loaded(p, p->entry));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t file_len;
    uint16_t memory, notes_len;
    if (size < PREFIX)
        return 0;
    memcpy(&file_len, data, 4);
    memcpy(&memory, data + 4, 2);
    memcpy(&notes_len, data + 6, 2);
    data += PREFIX;
    size -= PREFIX;
    if (notes_len > size)
        notes_len = (uint16_t)size;
    const uint8_t *notes = data;
    data += notes_len;
    size -= notes_len;
    size_t head_len = size < VMLINUX_HEAD_MAX ? size : VMLINUX_HEAD_MAX;
    if (head_len > file_len)
        head_len = file_len;
    const uint64_t low_end = (uint64_t)memory << 24;
    struct vmlinux_plan plan;
    struct err err = {0};
    if (vmlinux_plan(data, head_len, file_len, low_end, &plan, &err) < 0) {
        require(err.text[0] != '\0');
        return 0;
    }
    check(&plan, file_len, low_end);
    uint32_t entry;
    if (vmlinux_find_pvh(&plan, notes, notes_len, &entry))
        require(loaded(&plan, entry));
    return 0;
}
