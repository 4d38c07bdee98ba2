// The loader's plan for one Linux bzImage: which bytes of the file go where, where the 64-bit entry is, and
// the boot parameters ("zero page") that go with it. Pure: the first bytes of the file and a few lengths in,
// a plan or a sentence out; the file is hostile. Knows no descriptors and no guest memory. Source: Linux,
// Documentation/arch/x86/boot.rst, protocol 2.12 and later.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define BZIMAGE_HEAD_MAX     4096u
#define BZIMAGE_PARAMS_BYTES 4096u
#define BZIMAGE_HEADER_START 0x1f1u
#define BZIMAGE_HEADER_END   0x290u // what follows in the boot parameters is not the header's
#define BZIMAGE_CMDLINE_MAX  4095u  // without its NUL

// The memory map that a Linux guest is told: RAM from 0 to low_end, without the last KiB below 640 KiB and up
// to 1 MiB, where firmware tables lie; and high_bytes from 4 GiB on.
#define LINUX_FIRMWARE_GPA 0x9fc00u
#define LINUX_HIGH_GPA     0x100000u
#define LINUX_LOW_END_MAX  0xc0000000u
#define LINUX_ABOVE_4G_GPA 0x100000000u

struct bzimage_request {
    uint64_t memory_bytes; // RAM in all; what exceeds LINUX_LOW_END_MAX lies from LINUX_ABOVE_4G_GPA on
    uint64_t initrd_bytes; // 0: none
    const char *cmdline;   // NUL-terminated
    uint64_t cmdline_gpa;  // where the caller puts it, below 4 GiB
    uint64_t rsdp_gpa;     // of the ACPI tables
};

struct bzimage_plan {
    uint64_t file_offset, file_len; // the protected-mode kernel in the file
    uint64_t load_gpa;
    uint64_t entry; // 64-bit entry point: %rsi points to the boot parameters, memory is mapped one to one
    uint64_t end;   // first byte that the kernel does not claim before it reads the memory map
    uint64_t initrd_gpa, initrd_bytes;
    uint64_t low_end, high_bytes;
    uint32_t cmdline_gpa;
    uint64_t rsdp_gpa;
    uint8_t header[BZIMAGE_HEADER_END - BZIMAGE_HEADER_START]; // the file's, to be handed back to it
};

// head: the first min(file_len, BZIMAGE_HEAD_MAX) bytes. 0; -ENOEXEC: the file is no kernel that can be
// booted; -ENOMEM: memory is too small; -E2BIG: the command line is too long. A sentence then says what to do
// about it and *ret is untouched.
int bzimage_plan(const uint8_t *head, size_t head_len, uint64_t file_len,
                 const struct bzimage_request *request, struct bzimage_plan *ret, struct err *err);
// Writes the boot parameters of an accepted plan.
void bzimage_write_params(const struct bzimage_plan *plan, uint8_t ret[BZIMAGE_PARAMS_BYTES]);
// A setup header for a kernel that has none of its own (an ELF file): enough for it to read the parameters.
void bzimage_bare_header(uint8_t ret[BZIMAGE_HEADER_END - BZIMAGE_HEADER_START]);
