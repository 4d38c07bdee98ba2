// The loader's plan for one Linux ELF kernel (vmlinux): which bytes of the file go where in the guest, and
// how it is entered: by its PVH note where it has one, else at its 64-bit entry point. Pure, as boot/bzimage;
// the file is hostile. Source: Linux, Documentation/arch/x86/boot.rst; Xen, docs/misc/pvh.pandoc.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define VMLINUX_HEAD_MAX     4096u // ELF header and program headers lie in it
#define VMLINUX_SEGMENTS_MAX 16u
#define VMLINUX_NOTES_MAX    4096u // bytes of one note segment that are looked at

struct vmlinux_segment {
    uint64_t gpa;
    uint64_t file_offset, file_len; // inside the file
    uint64_t mem_len;               // >= file_len; the rest is zero
};

struct vmlinux_plan {
    struct vmlinux_segment segments[VMLINUX_SEGMENTS_MAX]; // by physical address, ascending, without overlaps
    size_t n_segments;
    uint64_t notes_offset, notes_len; // of the note segment in the file; 0: none
    uint64_t entry;                   // physical address of the 64-bit entry point, inside a segment
    uint64_t end;                     // first byte behind the last segment
};

// True for what vmlinux_plan() should look at rather than bzimage_plan().
bool vmlinux_is_elf(const uint8_t *head, size_t head_len);
// head: the first min(file_len, VMLINUX_HEAD_MAX) bytes. RAM for the kernel is [1 MiB, low_end). 0; -ENOEXEC:
// no kernel that can be booted; -ENOMEM: memory is too small. A sentence then says what to do about it and
// *ret is untouched.
int vmlinux_plan(const uint8_t *head, size_t head_len, uint64_t file_len, uint64_t low_end,
                 struct vmlinux_plan *ret, struct err *err);
// Looks for the PVH entry in the bytes of the note segment. True, and the 32-bit physical address, which lies
// inside a segment of the plan; false: there is none.
bool vmlinux_find_pvh(const struct vmlinux_plan *plan, const uint8_t *notes, size_t len, uint32_t *ret_entry);
