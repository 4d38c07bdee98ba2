// See vcpu_rig.h.
#include "vcpu_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

// guest_code.S has these as numbers.
_Static_assert(CELL_SHARED_GPA == 0xf000 && offsetof(struct cell_shared, pending) == 0x28 &&
                   offsetof(struct cell_shared, in_kernel) == 0x2c &&
                   offsetof(struct cell_shared, wake_ns) == 0x30 &&
                   offsetof(struct cell_shared, syscall_rip) == 0x38 &&
                   offsetof(struct cell_shared, fsbase) == 0x40 &&
                   offsetof(struct cell_shared, upcall) == 0x48 &&
                   offsetof(struct cell_shared, panic_text) == 0x60,
               "layout");

static int kvm_fd = -1;

void put(struct rig *r, uint64_t gpa, const uint8_t *code, const uint8_t *end)
{
    memcpy(guest_memory_at(&r->mem, gpa, (uint64_t)(end - code)), code, (size_t)(end - code));
}

volatile uint32_t *data32(struct rig *r, uint64_t offset)
{
    return guest_memory_at(&r->mem, DATA + offset, 4);
}

uint64_t data64(struct rig *r, uint64_t offset)
{
    uint64_t v;
    memcpy(&v, guest_memory_at(&r->mem, DATA + offset, 8), 8);
    return v;
}

int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err err;
    if (guest_memory_init(&r->mem, MEMORY_BYTES, GUEST_MEMORY_SMALL_PAGES, &err) < 0 ||
        kvm_cell_init(&r->kvm, kvm_fd, &r->mem, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    const struct cell_kernel_header header = {.magic = CELL_KERNEL_MAGIC,
                                              .version = CELL_VERSION,
                                              .entry = KERNEL_CODE,
                                              .syscall_direct = DIRECT_CODE,
                                              .syscall_saved = SAVED_CODE,
                                              .upcall = UPCALL_CODE,
                                              .text_start = KERNEL_CODE,
                                              .text_end = TEXT_END};
    boot_tables_write(&r->mem, &header);
    put(r, UPCALL_CODE, guest_kernel_upcall, guest_kernel_upcall_end);
    put(r, DIRECT_CODE, guest_kernel_syscall_direct, guest_kernel_syscall_direct_end);
    put(r, SAVED_CODE, guest_kernel_syscall_saved, guest_kernel_syscall_saved_end);
    r->shared = guest_memory_at(&r->mem, CELL_SHARED_GPA, sizeof *r->shared);
    r->shared->in_kernel = 1;
    r->shared->wake_ns = UINT64_MAX;
    clock_page_init(&r->clock, r->shared, r->kvm.tsc_khz);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const struct vcpu_config config = {
        .kvm = &r->kvm, .mem = &r->mem, .kernel = header, .clock = &r->clock, .wake_fd = r->wake_fd};
    if (vcpu_init(&r->vcpu, &config, &err) < 0)
        return -1;
    *state = r;
    return 0;
}

int rig_teardown(void **state)
{
    struct rig *r = *state;
    vcpu_stop(&r->vcpu);
    clock_page_done(&r->clock);
    kvm_vm_done(&r->kvm.vm);
    guest_memory_done(&r->mem);
    close(r->wake_fd);
    free(r);
    return 0;
}

void start_at(struct rig *r, uint64_t rip)
{
    struct err err;
    const struct kvm_start start = {.rip = rip,
                                    .rdi = CELL_BOOT_GPA,
                                    .lstar =
                                        r->kvm.flavour == CELL_FLAVOUR_PVM ? DIRECT_CODE : BOOT_SYSCALL_GPA};
    assert_int_equal(kvm_cell_set_start(&r->kvm, &start, &err), 0);
    assert_int_equal(vcpu_start(&r->vcpu, &err), 0);
}

const struct outcome *wait_outcome(struct rig *r)
{
    for (int i = 0; i < 100; i++) {
        const struct outcome *o = vcpu_outcome(&r->vcpu);
        if (o)
            return o;
        uint64_t count;
        struct pollfd p = {.fd = r->wake_fd, .events = POLLIN};
        poll(&p, 1, 100);
        ssize_t ignored = read(r->wake_fd, &count, sizeof count);
        (void)ignored;
    }
    fail_msg("the guest did not end within 10 s");
    return NULL;
}

const struct outcome *run(struct rig *r, uint64_t gpa, const uint8_t *code, const uint8_t *end)
{
    put(r, gpa, code, end);
    start_at(r, gpa);
    return wait_outcome(r);
}

void wait_until(volatile uint32_t *word, uint32_t at_least)
{
    for (int i = 0; i < 11000 && *word < at_least; i++)
        usleep(i < 1000 ? 10 : 1000);
    assert_true(*word >= at_least);
}

void wait_idle(struct rig *r)
{
    for (int i = 0; i < 5000 && !atomic_load(&r->vcpu.idle); i++)
        usleep(1000);
    assert_true(atomic_load(&r->vcpu.idle));
}

bool rig_prepare(void)
{
    kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_fd < 0) {
        printf("SKIPPED: /dev/kvm: %s\n", strerror(errno));
        return false;
    }
    return true;
}
