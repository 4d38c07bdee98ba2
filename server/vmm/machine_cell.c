// Owns what a cell is beyond a machine: its devices are handed over as if negotiated, its clock is a page,
// and an upcall is its interrupt. Called by machine.c.
#include <errno.h>

#include "boot/cell.h"
#include "boot/layout.h"
#include "common/io.h"
#include "machine_kind.h"

#define TICK_NS 1000000000ull

static void raise_guest(struct machine_slot *slot)
{
    struct machine *m = slot->machine;
    struct machine_cell *c = &m->cell;
    const bool running = vcpu_notify(&c->vcpu);
    // On the vCPU's own thread the guest is in its driver: no need to interrupt it.
    if (!running || c->nudging || !pthread_equal(pthread_self(), m->io_thread))
        return;
    c->nudging = true;
    loop_timer_set(c->nudge_timer, io_monotonic_ns() + VCPU_NUDGE_NS);
}

static void on_nudge(void *arg, uint32_t events)
{
    (void)events;
    struct machine_cell *c = &((struct machine *)arg)->cell;
    c->nudging = vcpu_nudge(&c->vcpu);
    if (c->nudging)
        loop_timer_set(c->nudge_timer, io_monotonic_ns() + VCPU_NUDGE_NS);
}

static void on_tick(void *arg, uint32_t events)
{
    (void)events;
    struct machine *m = arg;
    struct machine_cell *c = &m->cell;
    if (vcpu_clock_pause(&c->vcpu))
        return; // on_wake() goes on
    clock_page_refresh(&c->clock);
    const uint64_t now_ns = io_monotonic_ns();
    if (vcpu_is_late(&c->vcpu, now_ns))
        raise_guest(&m->slots[0]);
    loop_timer_set(c->tick_timer, now_ns + TICK_NS);
}

// The guest has ended, or a long idle has.
static const struct outcome *on_wake(struct machine *m)
{
    const struct outcome *o = vcpu_outcome(&m->cell.vcpu);
    if (!o)
        loop_timer_set(m->cell.tick_timer, io_monotonic_ns() + TICK_NS);
    return o;
}

static int make_vm(struct machine *m, struct err *err)
{
    struct machine_cell *c = &m->cell;
    c->tick_timer = loop_add_timer(m->loop, on_tick, m);
    c->nudge_timer = loop_add_timer(m->loop, on_nudge, m);
    if (!c->tick_timer || !c->nudge_timer)
        return err_errno(err, -ENOMEM, "make the timers");
    return kvm_cell_init(&c->kvm, m->config->kvm_fd, &m->mem, err);
}

// Queues on the next free pages, doorbells, and the state after a driver's negotiation (all features), which
// a cell is thus spared.
static int plug(struct machine_slot *slot, uint64_t *queue_gpa, struct cell_device *ret, struct err *err)
{
    struct machine *m = slot->machine;
    struct virtio_device *dev = slot->dev;
    *ret = (struct cell_device){.type = dev->ops->id,
                                .n_queues = dev->ops->n_queues,
                                .mmio_gpa = CELL_MMIO_GPA + (uint64_t)(slot - m->slots) * CELL_MMIO_STRIDE,
                                .features = dev->ops->features};
    struct ring_config queues[VIRTIO_QUEUES_MAX];
    for (unsigned q = 0; q < ret->n_queues; q++) {
        const uint64_t gpa = *queue_gpa;
        *queue_gpa += CELL_QUEUE_STRIDE;
        ret->queue_gpa[q] = gpa;
        queues[q] = (struct ring_config){.size = CELL_QUEUE_SIZE,
                                         .desc_gpa = gpa,
                                         .avail_gpa = gpa + CELL_QUEUE_AVAIL,
                                         .used_gpa = gpa + CELL_QUEUE_USED};
    }
    int rc = machine_add_doorbells(slot, &m->cell.kvm.vm, ret->mmio_gpa, err);
    return rc < 0 ? rc : virtio_device_preset(dev, ret->features, queues, ret->n_queues, err);
}

static int plug_devices(struct machine *m, struct cell_device ret[MACHINE_DEVICES], struct err *err)
{
    uint64_t queue_gpa = CELL_QUEUES_GPA;
    for (size_t i = 0; i < MACHINE_DEVICES; i++) {
        int rc = plug(&m->slots[i], &queue_gpa, &ret[i], err);
        if (rc < 0)
            return err_wrap(err, rc, "device %s", m->slots[i].dev->ops->name);
    }
    return 0;
}

static int load_files(struct machine *m, const struct cell_device *devices, enum vmctl_cause *ret_cause,
                      struct err *err)
{
    const struct cell_source source = {.kernel_fd = m->config->kernel_fd,
                                       .program_fd = m->config->program_fd,
                                       .archive_fd = m->config->archive_fd,
                                       .config = &m->config->vm,
                                       .flavour = m->cell.kvm.flavour,
                                       .has_fsgsbase = m->cell.kvm.has_fsgsbase,
                                       .hwcap = m->cell.kvm.hwcap,
                                       .devices = devices,
                                       .n_devices = MACHINE_DEVICES};
    return cell_load(&m->mem, &source, &m->cell.kernel, ret_cause, err);
}

static int load(struct machine *m, enum vmctl_cause *ret_cause, struct err *err)
{
    struct machine_cell *c = &m->cell;
    struct cell_device devices[MACHINE_DEVICES];
    int rc = plug_devices(m, devices, err);
    if (rc == 0)
        rc = load_files(m, devices, ret_cause, err);
    if (rc < 0)
        return rc;
    clock_page_init(&c->clock, guest_memory_at(&m->mem, CELL_SHARED_GPA, sizeof(struct cell_shared)),
                    c->kvm.tsc_khz);
    clock_page_refresh(&c->clock);
    const bool is_pvm = c->kvm.flavour == CELL_FLAVOUR_PVM;
    const struct kvm_start start = {.rip = c->kernel.entry,
                                    .rdi = CELL_BOOT_GPA,
                                    .lstar = is_pvm ? c->kernel.syscall_direct : BOOT_SYSCALL_GPA};
    *ret_cause = VMCTL_CAUSE_KVM;
    return kvm_cell_set_start(&c->kvm, &start, err);
}

static int start(struct machine *m, struct err *err)
{
    struct machine_cell *c = &m->cell;
    const struct vcpu_config config = {.kvm = &c->kvm,
                                       .mem = &m->mem,
                                       .kernel = c->kernel,
                                       .clock = &c->clock,
                                       .mmio = m->mmio,
                                       .n_mmio = m->n_slots,
                                       .wake_fd = m->wake_fd};
    int rc = vcpu_init(&c->vcpu, &config, err);
    if (rc == 0)
        rc = vcpu_start(&c->vcpu, err);
    if (rc == 0)
        loop_timer_set(c->tick_timer, io_monotonic_ns() + TICK_NS);
    return rc;
}

static void drain(struct machine *m)
{
    virtio_console_drain(m->console);
}

static void hold(struct machine *m)
{
    vcpu_hold(&m->cell.vcpu);
}

static void release(struct machine *m)
{
    vcpu_release(&m->cell.vcpu);
}

static bool is_held(struct machine *m)
{
    return vcpu_is_held(&m->cell.vcpu);
}

static uint64_t cpu_ns(struct machine *m)
{
    return vcpu_thread_cpu_ns(&m->cell.vcpu.thread);
}

static void stop(struct machine *m)
{
    vcpu_stop(&m->cell.vcpu);
}

static void done(struct machine *m)
{
    clock_page_done(&m->cell.clock);
    kvm_vm_done(&m->cell.kvm.vm);
}

const struct machine_kind machine_kind_cell = {
    .pages = GUEST_MEMORY_SMALL_PAGES,
    .make_vm = make_vm,
    .load = load,
    .start = start,
    .raise = raise_guest,
    .on_wake = on_wake,
    .drain = drain,
    .hold = hold,
    .release = release,
    .is_held = is_held,
    .cpu_ns = cpu_ns,
    .stop = stop,
    .done = done,
};
