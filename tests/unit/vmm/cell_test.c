// Tests of the loading of a cell (server/vmm/boot/cell.c) with small files made here: what ends up where in
// guest memory.
#include "testing.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/cell.h"
#include "boot/layout.h"

#define MIB          (1ll << 20)
#define MEMORY       (16 * MIB)
#define PAGE         0x1000u
#define KERNEL_BYTES 0x1800u
#define TEXT_OFFSET  0x1000u // in the program's file, and its congruent address
#define TEXT_GPA     0x401000u
#define TEXT_LEN     0x2345u
#define DATA_OFFSET  0x3e10u
#define DATA_GPA     0x404e10u
#define DATA_LEN     0x310u
#define BSS_LEN      0x2000u

struct fixture {
    struct guest_memory mem;
    struct vmctl_config config;
    struct cell_source source;
    struct cell_device device;
    struct cell_kernel_header kernel; // as loaded
    enum vmctl_cause cause;
    struct err err;
};

struct file_head {
    Elf64_Ehdr h;
    Elf64_Phdr p[3];
};

static struct file_head elf_head(uint64_t entry, uint16_t n)
{
    struct file_head s = {0};
    memcpy(s.h.e_ident, ELFMAG, SELFMAG);
    s.h.e_ident[EI_CLASS] = ELFCLASS64;
    s.h.e_ident[EI_DATA] = ELFDATA2LSB;
    s.h.e_ident[EI_VERSION] = EV_CURRENT;
    s.h.e_type = ET_EXEC;
    s.h.e_machine = EM_X86_64;
    s.h.e_version = EV_CURRENT;
    s.h.e_entry = entry;
    s.h.e_phoff = sizeof s.h;
    s.h.e_phentsize = sizeof s.p[0];
    s.h.e_phnum = n;
    return s;
}

static uint8_t pattern(uint64_t offset)
{
    return (uint8_t)(offset * 7 + offset / 251 + 1);
}

static int make_file(const void *head, size_t head_len, size_t len)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    uint8_t *data = malloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = pattern(i);
    memcpy(data, head, head_len);
    assert_int_equal(write(fd, data, len), len);
    free(data);
    return fd;
}

static int make_program(void)
{
    struct file_head s = elf_head(TEXT_GPA, 3);
    s.p[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = 0x400000, .p_filesz = 0x200, .p_memsz = 0x200};
    s.p[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_X,
                          .p_offset = TEXT_OFFSET,
                          .p_vaddr = TEXT_GPA,
                          .p_filesz = TEXT_LEN,
                          .p_memsz = TEXT_LEN};
    s.p[2] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_offset = DATA_OFFSET,
                          .p_vaddr = DATA_GPA,
                          .p_filesz = DATA_LEN,
                          .p_memsz = DATA_LEN + BSS_LEN};
    return make_file(&s, sizeof s, 0x5000);
}

static struct cell_kernel_header good_kernel(void)
{
    return (struct cell_kernel_header){.magic = CELL_KERNEL_MAGIC,
                                       .version = CELL_VERSION,
                                       .entry = CELL_KERNEL_GPA + 0x100,
                                       .syscall_direct = CELL_KERNEL_GPA + 0x200,
                                       .syscall_saved = CELL_KERNEL_GPA + 0x300,
                                       .upcall = CELL_KERNEL_GPA + 0x400,
                                       .text_start = CELL_KERNEL_GPA + 0x80,
                                       .text_end = CELL_KERNEL_GPA + KERNEL_BYTES};
}

static int make_kernel(const struct cell_kernel_header *header)
{
    struct file_head s = elf_head(header->entry, 1);
    s.p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_X,
                          .p_offset = PAGE,
                          .p_vaddr = CELL_KERNEL_GPA,
                          .p_filesz = KERNEL_BYTES,
                          .p_memsz = KERNEL_BYTES};
    int fd = make_file(&s, sizeof s, PAGE + KERNEL_BYTES);
    assert_int_equal(pwrite(fd, header, sizeof *header, PAGE), sizeof *header);
    return fd;
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (guest_memory_init(&f->mem, MEMORY, GUEST_MEMORY_SMALL_PAGES, &f->err) < 0)
        return -1;
    const struct cell_kernel_header header = good_kernel();
    f->config.n_args = 2;
    f->config.args[0] = view("web");
    f->config.args[1] = view("");
    f->config.n_env = 1;
    f->config.env[0] = view("A=1");
    memcpy(f->config.mac, (const uint8_t[]){2, 3, 4, 5, 6, 7}, 6);
    f->config.ipv4 = 0x0a000002;
    f->config.gateway = 0x0a000001;
    f->config.prefix = 24;
    f->device = (struct cell_device){.type = 3, .n_queues = 2, .mmio_gpa = CELL_MMIO_GPA};
    f->source = (struct cell_source){.kernel_fd = make_kernel(&header),
                                     .program_fd = make_program(),
                                     .archive_fd = -1,
                                     .config = &f->config,
                                     .flavour = CELL_FLAVOUR_PVM,
                                     .has_fsgsbase = true,
                                     .hwcap = 0x1234,
                                     .devices = &f->device,
                                     .n_devices = 1};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    close(f->source.kernel_fd);
    close(f->source.program_fd);
    if (f->source.archive_fd >= 0)
        close(f->source.archive_fd);
    guest_memory_done(&f->mem);
    free(f);
    return 0;
}

static int load(struct fixture *f)
{
    return cell_load(&f->mem, &f->source, &f->kernel, &f->cause, &f->err);
}

static void assert_loaded(struct fixture *f)
{
    if (load(f) < 0)
        fail_msg("%s", f->err.text);
}

static void assert_refused(struct fixture *f, enum vmctl_cause cause, const char *contains)
{
    assert_true(load(f) < 0);
    assert_int_equal(f->cause, cause);
    if (!strstr(f->err.text, contains))
        fail_msg("\"%s\" does not contain \"%s\"", f->err.text, contains);
}

static const struct cell_boot *boot_page(struct fixture *f)
{
    return guest_memory_at(&f->mem, CELL_BOOT_GPA, sizeof(struct cell_boot));
}

static void assert_pattern(struct fixture *f, uint64_t gpa, uint64_t offset, uint64_t len)
{
    const uint8_t *p = guest_memory_at(&f->mem, gpa, len);
    for (uint64_t i = 0; i < len; i++)
        if (p[i] != pattern(offset + i))
            fail_msg("byte 0x%llx is not byte 0x%llx of the file", (unsigned long long)(gpa + i),
                     (unsigned long long)(offset + i));
}

static void assert_zero(struct fixture *f, uint64_t gpa, uint64_t len)
{
    const uint8_t *p = guest_memory_at(&f->mem, gpa, len);
    for (uint64_t i = 0; i < len; i++)
        assert_int_equal(p[i], 0);
}

static void segments_lie_at_their_addresses_with_zeros_around(void **state)
{
    struct fixture *f = *state;
    assert_loaded(f);
    assert_pattern(f, TEXT_GPA, TEXT_OFFSET, TEXT_LEN);
    assert_zero(f, TEXT_GPA + TEXT_LEN, DATA_GPA - TEXT_GPA - TEXT_LEN);
    assert_pattern(f, DATA_GPA, DATA_OFFSET, DATA_LEN);
    assert_zero(f, DATA_GPA + DATA_LEN, BSS_LEN + 2 * PAGE);
    assert_pattern(f, CELL_KERNEL_GPA + 0x80, PAGE + 0x80, KERNEL_BYTES - 0x80);
}

static void segments_that_are_not_page_congruent_are_copied(void **state)
{
    struct fixture *f = *state;
    struct file_head s = elf_head(TEXT_GPA, 1);
    s.p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_X,
                          .p_offset = 0x321,
                          .p_vaddr = TEXT_GPA,
                          .p_filesz = TEXT_LEN,
                          .p_memsz = TEXT_LEN};
    close(f->source.program_fd);
    f->source.program_fd = make_file(&s, sizeof s, 0x5000);
    assert_loaded(f);
    assert_pattern(f, TEXT_GPA, 0x321, TEXT_LEN);
    assert_int_equal(boot_page(f)->program_phdr, 0);
    assert_int_equal(boot_page(f)->program_phnum, 0); // nothing where a C library would look
}

static void the_boot_page_says_what_was_loaded(void **state)
{
    struct fixture *f = *state;
    assert_loaded(f);
    const struct cell_boot *b = boot_page(f);
    assert_true(b->magic == CELL_BOOT_MAGIC);
    assert_int_equal(b->version, CELL_VERSION);
    assert_int_equal(b->flavour, CELL_FLAVOUR_PVM);
    assert_int_equal(b->memory_bytes, MEMORY);
    assert_int_equal(b->cpu_has_fsgsbase, 1);
    assert_int_equal(b->hwcap, 0x1234);
    assert_int_equal(b->program_entry, TEXT_GPA);
    assert_int_equal(b->program_base, 0);
    assert_int_equal(b->program_phdr, 0x400040);
    assert_int_equal(b->program_phnum, 3);
    assert_int_equal(b->program_phent, sizeof(Elf64_Phdr));
    assert_int_equal(b->program_end, 0x408000);
    assert_int_equal(b->heap_start, 0x408000);
    assert_int_equal(b->heap_end, MEMORY);
    assert_int_equal(b->archive_gpa, 0);
    assert_memory_equal(b->mac, f->config.mac, 6);
    assert_int_equal(b->ipv4, 0x0a000002);
    assert_int_equal(b->gateway, 0x0a000001);
    assert_int_equal(b->prefix, 24);
    assert_int_equal(b->n_devices, 1);
    assert_memory_equal(&b->devices[0], &f->device, sizeof f->device);
}

static void random_bytes_differ_from_start_to_start(void **state)
{
    struct fixture *f = *state;
    assert_loaded(f);
    uint8_t first[64];
    memcpy(first, boot_page(f)->random, sizeof first);
    assert_loaded(f);
    assert_memory_not_equal(first, boot_page(f)->random, sizeof first);
}

static void arguments_and_environment_follow_each_other(void **state)
{
    struct fixture *f = *state;
    assert_loaded(f);
    assert_memory_equal(guest_memory_at(&f->mem, CELL_ARGS_GPA, 9), "web\0\0A=1\0", 9);
    assert_int_equal(boot_page(f)->n_args, 2);
    assert_int_equal(boot_page(f)->n_env, 1);
    assert_int_equal(boot_page(f)->args_bytes, 9);
}

static void arguments_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    static char big[CELL_ARGS_MAX];
    memset(big, 'a', sizeof big - 1);
    f->config.args[1] = view(big);
    assert_refused(f, VMCTL_CAUSE_CONFIG, "more than 128 KiB");
}

static void the_archive_lies_at_the_end_of_memory(void **state)
{
    struct fixture *f = *state;
    f->source.archive_fd = make_file("", 0, 0x2345);
    assert_loaded(f);
    const struct cell_boot *b = boot_page(f);
    assert_int_equal(b->archive_gpa, MEMORY - 0x3000);
    assert_int_equal(b->archive_bytes, 0x2345);
    assert_int_equal(b->heap_end, b->archive_gpa);
    assert_pattern(f, b->archive_gpa, 0, 0x2345);
    assert_zero(f, b->archive_gpa + 0x2345, 0x3000 - 0x2345);
}

static void an_archive_that_leaves_no_room_is_refused(void **state)
{
    struct fixture *f = *state;
    f->source.archive_fd = memfd_create("archive", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->source.archive_fd, MEMORY), 0);
    assert_refused(f, VMCTL_CAUSE_MEMORY, "the archive has 16384 KiB and memory has room for 12256");
    assert_int_equal(ftruncate(f->source.archive_fd, 11 * MIB), 0);
    assert_refused(f, VMCTL_CAUSE_MEMORY, "give it more memory");
}

static void a_program_cut_off_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ftruncate(f->source.program_fd, DATA_OFFSET + DATA_LEN - 1), 0);
    assert_refused(f, VMCTL_CAUSE_PROGRAM, "the program is cut off");
    assert_int_equal(ftruncate(f->source.program_fd, 0), 0);
    assert_refused(f, VMCTL_CAUSE_PROGRAM, "the program is empty");
}

static void a_program_that_is_no_file_is_refused(void **state)
{
    struct fixture *f = *state;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    close(f->source.program_fd);
    f->source.program_fd = pipe_fds[0];
    close(pipe_fds[1]);
    assert_refused(f, VMCTL_CAUSE_PROGRAM, "the program is not a regular file");
}

static void kernels_that_do_not_fit_the_contract_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct {
        size_t offset;
        uint64_t value;
        const char *says;
    } cases[] = {
        {offsetof(struct cell_kernel_header, magic), 1, "not a cell kernel"},
        {offsetof(struct cell_kernel_header, version), 7, "speaks version 7"},
        {offsetof(struct cell_kernel_header, syscall_direct), CELL_KERNEL_GPA, "outside its text"},
        {offsetof(struct cell_kernel_header, syscall_saved), UINT64_MAX, "outside its text"},
        {offsetof(struct cell_kernel_header, upcall), CELL_KERNEL_GPA + KERNEL_BYTES, "outside its text"},
        {offsetof(struct cell_kernel_header, text_start), 0, "outside its text"},
        {offsetof(struct cell_kernel_header, text_end), CELL_KERNEL_END + 1, "outside its text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cell_kernel_header header = good_kernel();
        memcpy((char *)&header + cases[i].offset, &cases[i].value, cases[i].offset == 8 ? 4 : 8);
        close(f->source.kernel_fd);
        f->source.kernel_fd = make_kernel(&header);
        assert_refused(f, VMCTL_CAUSE_CONFIG, cases[i].says);
    }
}

static void a_program_as_kernel_is_refused(void **state)
{
    struct fixture *f = *state;
    close(f->source.kernel_fd);
    f->source.kernel_fd = dup(f->source.program_fd);
    assert_refused(f, VMCTL_CAUSE_CONFIG, "the kernel has a segment");
}

static void whole_pages_are_private_mappings_of_the_file(void **state)
{
    // Mappings: a change of the file shows through.
    struct fixture *f = *state;
    assert_loaded(f);
    assert_int_equal(pwrite(f->source.program_fd, "changed", 7, TEXT_OFFSET + 0x10), 7);
    assert_memory_equal(guest_memory_at(&f->mem, TEXT_GPA + 0x10, 7), "changed", 7);
    // Private: a guest's writes stay its own.
    memcpy(guest_memory_at(&f->mem, TEXT_GPA + 0x20, 5), "guest", 5);
    char back[5];
    assert_int_equal(pread(f->source.program_fd, back, 5, TEXT_OFFSET + 0x20), 5);
    assert_memory_not_equal(back, "guest", 5);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(segments_lie_at_their_addresses_with_zeros_around),
        CASE(segments_that_are_not_page_congruent_are_copied),
        CASE(the_boot_page_says_what_was_loaded),
        CASE(random_bytes_differ_from_start_to_start),
        CASE(arguments_and_environment_follow_each_other),
        CASE(arguments_that_do_not_fit_are_refused),
        CASE(the_archive_lies_at_the_end_of_memory),
        CASE(an_archive_that_leaves_no_room_is_refused),
        CASE(a_program_cut_off_is_refused),
        CASE(a_program_that_is_no_file_is_refused),
        CASE(kernels_that_do_not_fit_the_contract_are_refused),
        CASE(a_program_as_kernel_is_refused),
        CASE(whole_pages_are_private_mappings_of_the_file),
    };
    return cmocka_run_group_tests_name("vmm/cell", tests, NULL, NULL);
}
