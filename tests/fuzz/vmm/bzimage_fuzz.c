// Fuzzes the bzImage plan (server/vmm/boot/bzimage.c). Input: u32 file length, u16 memory in 16 MiB, u32
// initrd length, then the file's first bytes from its setup header (0x1f1) on. Whatever is accepted must keep
// the promises that the loader builds on.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "boot/bzimage.h"

#define PREFIX 10u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise)
        abort();
}

static void check(const struct bzimage_plan *p, const struct bzimage_request *r, uint64_t file_len)
{
    require(p->file_offset <= file_len && p->file_len <= file_len - p->file_offset);
    require(p->load_gpa >= LINUX_HIGH_GPA && p->load_gpa % 4096 == 0);
    require(p->entry > p->load_gpa && p->entry < p->load_gpa + p->file_len);
    require(p->end >= p->load_gpa + p->file_len && p->end <= p->low_end);
    require(p->low_end + p->high_bytes == r->memory_bytes && p->low_end <= LINUX_LOW_END_MAX);
    require(p->initrd_bytes == r->initrd_bytes);
    if (p->initrd_bytes)
        require(p->initrd_gpa >= p->end && p->initrd_gpa + p->initrd_bytes <= p->low_end);
    uint8_t params[BZIMAGE_PARAMS_BYTES];
    bzimage_write_params(p, params);
    require(params[0x1e8] == (p->high_bytes ? 4 : 3));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < PREFIX)
        return 0;
    uint32_t file_len, initrd_len;
    uint16_t memory;
    memcpy(&file_len, data, 4);
    memcpy(&memory, data + 4, 2);
    memcpy(&initrd_len, data + 6, 4);
    uint8_t head[BZIMAGE_HEAD_MAX] = {0};
    size_t n = size - PREFIX;
    if (n > sizeof head - BZIMAGE_HEADER_START)
        n = sizeof head - BZIMAGE_HEADER_START;
    memcpy(head + BZIMAGE_HEADER_START, data + PREFIX, n);
    size_t head_len = BZIMAGE_HEADER_START + n;
    if (head_len > file_len)
        head_len = file_len;
    const struct bzimage_request request = {.memory_bytes = (uint64_t)memory << 24,
                                            .initrd_bytes = initrd_len,
                                            .cmdline = "console=ttyS0",
                                            .cmdline_gpa = 0x20000,
                                            .rsdp_gpa = 0xe0000};
    struct bzimage_plan plan;
    struct err err = {0};
    if (bzimage_plan(head, head_len, file_len, &request, &plan, &err) == 0)
        check(&plan, &request, file_len);
    else
        require(err.text[0] != '\0');
    return 0;
}
