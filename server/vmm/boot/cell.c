// Owns the loading of a cell. Called by machine before the vCPU exists; nothing of the guest runs yet, so
// what is written here is not contested. File contents never reach a decision without a bounds check
// (boot/elf).
#include "boot/cell.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "boot/elf.h"
#include "boot/file.h"
#include "boot/tables.h"
#include "common/checked.h"

#define PAGE_SIZE 0x1000u
#define PAGE_MASK ((uint64_t)PAGE_SIZE - 1)
#define HEAP_MIN  (2u << 20) // stack, heap and message buffers of the smallest program

static uint64_t page_up(uint64_t n)
{
    return (n + PAGE_MASK) & ~PAGE_MASK;
}

// Puts [offset, offset + len) of the file at gpa: whole pages as private mappings of the file, so that they
// cost no copy and are shared with every other cell until written; the edges are copied. Bytes around stay as
// they are.
static int map_in(const struct guest_memory *mem, int fd, uint64_t gpa, uint64_t offset, uint64_t len,
                  const char *what, struct err *err)
{
    const uint64_t first = page_up(gpa);
    const uint64_t last = (gpa + len) & ~PAGE_MASK;
    if (((gpa ^ offset) & PAGE_MASK) != 0 || first >= last)
        return boot_file_copy(mem, fd, gpa, offset, len, what, err);
    void *to = guest_memory_at(mem, first, last - first);
    if (!to)
        return err_set(err, -ENOMEM, "the %s does not fit into memory", what);
    void *p = mmap(to, last - first, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
                   (off_t)(offset + (first - gpa)));
    if (p == MAP_FAILED)
        return err_errno(err, -errno, "map the %s", what);
    int rc = boot_file_copy(mem, fd, gpa, offset, first - gpa, what, err);
    if (rc < 0)
        return rc;
    return boot_file_copy(mem, fd, last, offset + (last - gpa), gpa + len - last, what, err);
}

static int load_elf(const struct guest_memory *mem, int fd, const struct elf_limits *limits,
                    struct elf_plan *ret, struct err *err)
{
    uint64_t len = 0;
    int rc = boot_file_length(fd, limits->what, &len, err);
    if (rc < 0)
        return rc;
    uint8_t head[ELF_HEAD_MAX];
    const size_t head_len = len < sizeof head ? (size_t)len : sizeof head;
    rc = boot_file_read(fd, head, head_len, 0, limits->what, err);
    if (rc < 0)
        return rc;
    rc = elf_plan(head, head_len, len, limits, ret, err);
    for (size_t i = 0; rc == 0 && i < ret->n_segments; i++) {
        const struct elf_segment *s = &ret->segments[i];
        rc = map_in(mem, fd, s->gpa, s->file_offset, s->file_len, limits->what, err);
    }
    return rc;
}

static bool in_text(const struct cell_kernel_header *h, uint64_t rip)
{
    return rip >= h->text_start && rip < h->text_end;
}

static int check_kernel(const struct cell_kernel_header *h, struct err *err)
{
    if (h->magic != CELL_KERNEL_MAGIC)
        return err_set(err, -ENOEXEC, "the kernel is not a cell kernel: use the one built with this envvm");
    if (h->version != CELL_VERSION)
        return err_set(err, -ENOEXEC,
                       "the cell kernel speaks version %u, envvm %u: use the one built with this envvm",
                       h->version, CELL_VERSION);
    if (h->text_start < CELL_KERNEL_GPA || h->text_end > CELL_KERNEL_END || !in_text(h, h->entry) ||
        !in_text(h, h->syscall_direct) || !in_text(h, h->syscall_saved) || !in_text(h, h->upcall))
        return err_set(err, -ENOEXEC,
                       "the cell kernel's header names entries outside its text: build it again");
    return 0;
}

static int load_kernel(const struct guest_memory *mem, int fd, struct cell_kernel_header *ret,
                       struct err *err)
{
    const struct elf_limits limits = {
        .what = "kernel", .min_gpa = CELL_KERNEL_GPA, .end_gpa = CELL_KERNEL_END};
    struct elf_plan plan;
    int rc = load_elf(mem, fd, &limits, &plan, err);
    if (rc < 0)
        return rc;
    if (plan.segments[0].gpa != CELL_KERNEL_GPA || plan.segments[0].file_len < sizeof *ret)
        return err_set(err, -ENOEXEC, "the kernel does not begin with a cell kernel's header at 0x%x",
                       CELL_KERNEL_GPA);
    rc = boot_file_read(fd, ret, sizeof *ret, plan.segments[0].file_offset, "kernel", err);
    return rc < 0 ? rc : check_kernel(ret, err);
}

// The archive lies at the end of memory: the heap grows towards it.
static int load_archive(const struct guest_memory *mem, int fd, struct cell_boot *boot, struct err *err)
{
    boot->heap_end = mem->size_bytes;
    if (fd < 0)
        return 0;
    uint64_t len = 0;
    int rc = boot_file_length(fd, "archive", &len, err);
    if (rc < 0 || len == 0)
        return rc;
    if (len > mem->size_bytes - boot->heap_start)
        return err_set(err, -ENOMEM,
                       "the archive has %llu KiB and memory has room for %llu: give it more memory",
                       (unsigned long long)(len >> 10),
                       (unsigned long long)((mem->size_bytes - boot->heap_start) >> 10));
    boot->archive_gpa = mem->size_bytes - page_up(len);
    boot->archive_bytes = len;
    boot->heap_end = boot->archive_gpa;
    return map_in(mem, fd, boot->archive_gpa, 0, len, "archive", err);
}

static int load_program(const struct guest_memory *mem, int fd, struct cell_boot *boot, struct err *err)
{
    const struct elf_limits limits = {.what = "program",
                                      .min_gpa = CELL_PROGRAM_MIN,
                                      .end_gpa = mem->size_bytes,
                                      .pie_base = CELL_PIE_BASE};
    struct elf_plan plan;
    int rc = load_elf(mem, fd, &limits, &plan, err);
    if (rc < 0)
        return rc;
    boot->program_entry = plan.entry;
    boot->program_base = plan.base;
    boot->program_phdr = plan.phdr;
    boot->program_phnum = plan.phdr ? plan.phnum : 0;
    boot->program_phent = 56; // sizeof(Elf64_Phdr): elf_plan accepts nothing else
    boot->program_end = page_up(plan.end);
    boot->heap_start = boot->program_end;
    return 0;
}

static int write_args(const struct guest_memory *mem, const struct vmctl_config *c, struct cell_boot *boot,
                      struct err *err)
{
    uint64_t used = 0;
    for (size_t i = 0; i < (size_t)c->n_args + c->n_env; i++) {
        const struct wire_view v = i < c->n_args ? c->args[i] : c->env[i - c->n_args];
        if (!range_inside(used, v.len + 1, CELL_ARGS_MAX))
            return err_set(err, -E2BIG, "arguments and environment take more than %u KiB",
                           CELL_ARGS_MAX >> 10);
        char *to = guest_memory_at(mem, CELL_ARGS_GPA + used, v.len + 1);
        if (!to)
            return err_set(err, -ENOMEM, "no memory for arguments");
        memcpy(to, v.data, v.len);
        to[v.len] = '\0';
        used += v.len + 1;
    }
    boot->n_args = c->n_args;
    boot->n_env = c->n_env;
    boot->args_bytes = used;
    return 0;
}

static int write_boot_page(const struct guest_memory *mem, const struct cell_source *source,
                           struct cell_boot *boot, struct err *err)
{
    const struct vmctl_config *c = source->config;
    boot->magic = CELL_BOOT_MAGIC;
    boot->version = CELL_VERSION;
    boot->flavour = source->flavour;
    boot->memory_bytes = mem->size_bytes;
    boot->cpu_has_fsgsbase = source->has_fsgsbase;
    boot->hwcap = source->hwcap;
    memcpy(boot->mac, c->mac, sizeof boot->mac);
    boot->ipv4 = c->ipv4;
    boot->gateway = c->gateway;
    boot->prefix = c->prefix;
    boot->n_devices = (uint32_t)source->n_devices;
    for (size_t i = 0; i < source->n_devices; i++)
        boot->devices[i] = source->devices[i];
    if (getrandom(boot->random, sizeof boot->random, 0) != (ssize_t)sizeof boot->random)
        return err_errno(err, -EIO, "get random bytes for the guest");
    memcpy(guest_memory_at(mem, CELL_BOOT_GPA, sizeof *boot), boot, sizeof *boot);
    return 0;
}

// One step of loading and what its failure means to the environment's owner.
#define STEP(cause, call)                                                                                    \
    do {                                                                                                     \
        int rc_ = (call);                                                                                    \
        if (rc_ < 0) {                                                                                       \
            *ret_cause = rc_ == -ENOMEM ? VMCTL_CAUSE_MEMORY : (cause);                                      \
            return rc_;                                                                                      \
        }                                                                                                    \
    } while (0)

int cell_load(const struct guest_memory *mem, const struct cell_source *source,
              struct cell_kernel_header *ret_kernel, enum vmctl_cause *ret_cause, struct err *err)
{
    struct cell_boot boot = {0};
    STEP(VMCTL_CAUSE_CONFIG, load_kernel(mem, source->kernel_fd, ret_kernel, err));
    STEP(VMCTL_CAUSE_PROGRAM, load_program(mem, source->program_fd, &boot, err));
    STEP(VMCTL_CAUSE_CONFIG, load_archive(mem, source->archive_fd, &boot, err));
    if (boot.heap_end - boot.heap_start < HEAP_MIN)
        STEP(VMCTL_CAUSE_MEMORY,
             err_set(err, -ENOMEM,
                     "program and archive leave %llu KiB free and %u are needed: give it more memory",
                     (unsigned long long)((boot.heap_end - boot.heap_start) >> 10), HEAP_MIN >> 10));
    STEP(VMCTL_CAUSE_CONFIG, write_args(mem, source->config, &boot, err));
    STEP(VMCTL_CAUSE_MEMORY, write_boot_page(mem, source, &boot, err));
    boot_tables_write(mem, ret_kernel);
    return 0;
}
