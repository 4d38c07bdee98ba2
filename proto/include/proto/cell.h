// The boot contract between envvm and the cell kernel: where things lie in guest-physical memory, what the ports mean,
// what the two shared pages hold. Constants and plain structs only. Used by server/vmm/boot and agent/cell.
//
// Everything of a cell runs at CPL3 in one identity-mapped address space: the cell kernel, its drivers, the agent and the
// program (why: README, "Design notes"; KVM-PVM emulates CPL0). CPL0 holds only stubs, written by envvm: fault gates that
// report through a port, and, on hardware KVM, a SYSCALL entry that returns to the kernel at CPL3. There is no interrupt
// controller: the guest idles with `out` to a port, and a program that computes too long is interrupted by an upcall,
// for which envvm edits the vCPU's registers.
//
//   guest-physical
//   0x00000000  unmapped page: catches NULL
//   0x00001000  page tables, GDT, IDT, TSS with I/O bitmap, CPL0 stack, CPL0 stubs: supervisor pages, envvm's
//   0x0000e000  struct cell_boot      written by envvm before the start
//   0x0000f000  struct cell_shared    written by both
//   0x00010000  argv and environment: strings with their NULs, argv first (at most 128 KiB)
//   0x00030000  the kernel: ELF, linked here; its first bytes are struct cell_kernel_header
//   0x001c0000  virtqueues, a page each (CELL_QUEUE_SIZE entries: descriptors at +0, available at +0x800, used at +0xa00)
//   0x00200000  program segments at their own addresses (ET_EXEC), or at CELL_PIE_BASE (ET_DYN)
//   …           heap_start..heap_end: free RAM for brk, mmap, stack, message buffers; then the archive, if any
//   0xd0000000  virtio-mmio devices, a page each, in the order of cell_boot.devices
#pragma once

#include <stdint.h>

#define CELL_VERSION       1
#define CELL_BOOT_MAGIC    0x746f6f626c6c6563ull // "cellboot"
#define CELL_KERNEL_MAGIC  0x6e72656b6c6c6563ull // "cellkern"
#define CELL_BOOT_GPA      0x0000e000u
#define CELL_SHARED_GPA    0x0000f000u
#define CELL_ARGS_GPA      0x00010000u
#define CELL_ARGS_MAX      0x00020000u
#define CELL_KERNEL_GPA    0x00030000u
#define CELL_KERNEL_END    0x001c0000u
#define CELL_QUEUES_GPA    0x001c0000u
#define CELL_PROGRAM_MIN   0x00200000u
#define CELL_PIE_BASE      0x00400000u
#define CELL_MMIO_GPA      0xd0000000u
#define CELL_MMIO_STRIDE   0x1000u
#define CELL_QUEUE_SIZE    128u
#define CELL_QUEUE_STRIDE  0x1000u
#define CELL_QUEUE_AVAIL   0x800u
#define CELL_QUEUE_USED    0xa00u
#define CELL_QUEUES_MAX    3u
#define CELL_DEVICES_MAX   8u

// Ports, written with a 32-bit `out`; all lie inside the TSS's I/O bitmap.
#define CELL_PORT_IDLE   0x60 // nothing to do: envvm resumes the vCPU when a device has something, or at wake_ns
#define CELL_PORT_EXIT   0x64 // value: the program's exit status 0..255 (128 + signal when a signal would have killed it)
#define CELL_PORT_PANIC  0x68 // the kernel gives up; panic_text says why
#define CELL_PORT_FSBASE 0x6c // set FS.base to shared->fsbase, for CPUs without FSGSBASE
#define CELL_PORT_FAULT  0x70 // CPL0 stubs only: value is the vector, the frame is on the CPL0 stack

enum cell_flavour { CELL_FLAVOUR_HARDWARE = 1, CELL_FLAVOUR_PVM = 2 };

// First bytes of the kernel image. All entries run at CPL3.
struct cell_kernel_header {
    uint64_t magic; // CELL_KERNEL_MAGIC
    uint32_t version;
    uint32_t zero;
    uint64_t entry;          // %rdi = CELL_BOOT_GPA; brings its own stack
    uint64_t syscall_direct; // KVM-PVM: SYSCALL lands here, return address in %rcx, flags in %r11
    uint64_t syscall_saved;  // hardware: as above, but the return address is in shared->syscall_rip
    uint64_t upcall;         // interrupted program state in shared->upcall; return to it with iretq
    uint64_t text_start, text_end; // envvm makes no upcall while RIP is in here
};

struct cell_device {
    uint32_t type;     // virtio device id: 1 net, 3 console, 4 entropy, 19 vsock
    uint32_t n_queues; // a queue's page is at queue_gpa[i]
    uint64_t mmio_gpa; // doorbell: 32-bit write of the queue index to mmio_gpa + 0x50
    uint64_t features; // as negotiated: envvm hands the device over at DRIVER_OK, as after a snapshot
    uint64_t queue_gpa[CELL_QUEUES_MAX];
};

struct cell_boot {
    uint64_t magic; // CELL_BOOT_MAGIC
    uint32_t version;
    uint32_t flavour; // enum cell_flavour
    uint64_t memory_bytes;
    uint64_t cpu_has_fsgsbase; // 1: WRFSBASE works at CPL3
    // the program, already mapped by envvm
    uint64_t program_entry, program_phdr, program_base, program_end; // end: first free byte, page aligned; brk starts here
    uint32_t program_phnum, program_phent;
    uint32_t n_args, n_env;
    uint64_t args_bytes;
    uint64_t heap_start, heap_end; // page aligned
    uint64_t archive_gpa, archive_bytes; // cpio "newc", read-only; 0 = none
    uint64_t hwcap; // AT_HWCAP for the program: CPUID.1:EDX
    uint8_t random[64];
    uint8_t mac[6];
    uint8_t prefix;
    uint8_t zero;
    uint32_t ipv4, gateway; // host order, 0 = none
    uint32_t n_devices;
    struct cell_device devices[CELL_DEVICES_MAX];
};

struct cell_shared {
    // clock, by envvm; a seqlock: odd while it is written. ns = base + ((tsc - tsc_base) * mult >> 32)
    volatile uint32_t clock_seq;
    uint32_t zero;
    volatile uint64_t tsc_base, mult, monotonic_base_ns, realtime_base_ns;
    // envvm sets pending after it gave a device's used ring something; the kernel clears it before it looks at the rings
    volatile uint32_t pending;
    // the kernel sets in_kernel at every entry and clears it before it returns to the program
    volatile uint32_t in_kernel;
    // CELL_PORT_IDLE: resume at this monotonic time at the latest, ~0 = never. While the program runs: an upcall is wanted
    // then, which comes at envvm's next clock tick
    volatile uint64_t wake_ns;
    volatile uint64_t syscall_rip; // hardware SYSCALL stub
    volatile uint64_t fsbase;
    struct {
        volatile uint64_t rip, rsp, rflags;
    } upcall;
    char panic_text[256];
};

_Static_assert(sizeof(struct cell_boot) <= 4096, "one page");
_Static_assert(sizeof(struct cell_shared) <= 4096, "one page");
_Static_assert(sizeof(struct cell_kernel_header) == 64, "layout");
