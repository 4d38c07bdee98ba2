// Owns what a Linux guest is beyond a machine: its devices are found through ACPI and negotiated by its own
// drivers, an eventfd each interrupts it, and it ends by powering off, restarting or panicking. Called by
// machine.c.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/overlay.h"
#include "block/raw.h"
#include "boot/bzimage.h"
#include "boot/linux.h"
#include "boot/linux_layout.h"
#include "common/io.h"
#include "machine_kind.h"
#include "vcpu_state.h"
#include "virtio/balloon.h"

#define PANIC_AGE_NS 60000000000ull // a restart that comes later is none of a panic's
#define OUTPUT_CHUNK 1024u
#define SAID_GAP_NS  10000000000ull // between two lines about a disk that fails
#define LOOK_GAP_NS  10000000000ull // between two looks at whether the guest will ever run again

// Our words of the command line. Consoles: the serial port until the virtio one's driver is there, which is a
// module in many kernels; urgent words on both. A panic restarts, which is how it gets known. Early, PCI is
// only good for quirks of devices that are not there: kernels look for AGP bridges in 8,192 places, twice.
#define CMDLINE "console=ttyS0 console=hvc0 quiet panic=-1 pci=noearly"

_Static_assert(MACHINE_SLOTS_MAX <= LINUX_GSI_COUNT - LINUX_VIRTIO_GSI, "an interrupt for each device");
_Static_assert(MACHINE_SLOTS_MAX <= LINUX_BUS_MMIO_MAX, "a window for each device");
_Static_assert(MACHINE_SLOTS_MAX <= ACPI_DEVICES_MAX, "its name in ACPI for each device");

// ---- while it runs ----

static void raise_guest(struct machine_slot *slot)
{
    kvm_linux_interrupt(&slot->machine->guest_linux.vm, slot->gsi);
}

static void take_output(struct machine *m)
{
    uint8_t data[OUTPUT_CHUNK];
    size_t n;
    while ((n = linux_bus_take_output(&m->guest_linux.bus, data, sizeof data)) > 0)
        machine_log(m, data, n);
}

static void on_output(struct machine *m, const uint8_t *untrusted_data, size_t len)
{
    panic_watch_feed(&m->guest_linux.panic, untrusted_data, len, io_monotonic_ns());
}

// For those who have to explain it. The threads of the vCPUs have ended.
static void note_vcpus(struct machine *m)
{
    const struct kvm_vm *vm = &m->guest_linux.vm;
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        char lines[VCPU_STATE_LINES][VCPU_STATE_LINE_MAX];
        struct vcpu_state state;
        vcpu_state_read(&vm->vcpus[i], &state);
        const unsigned n = vcpu_state_describe(&state, i, lines);
        for (unsigned k = 0; k < n; k++)
            machine_note(m, lines[k]);
    }
}

static bool is_inexplicable(enum vmctl_cause cause)
{
    return cause == VMCTL_CAUSE_TRIPLE_FAULT || cause == VMCTL_CAUSE_INTERNAL || cause == VMCTL_CAUSE_KVM ||
           cause == VMCTL_CAUSE_HANG;
}

static void drain(struct machine *m)
{
    virtio_console_drain(m->console);
    take_output(m);
    if (is_inexplicable(m->outcome.cause))
        note_vcpus(m);
    // All it wrote is known now: a restart, a crash or a halt right behind a panic's line is the panic's.
    const struct outcome *o = &m->outcome;
    const char *panic = panic_watch_text(&m->guest_linux.panic, io_monotonic_ns(), PANIC_AGE_NS);
    if (panic && (o->cause == VMCTL_CAUSE_REBOOT || o->cause == VMCTL_CAUSE_TRIPLE_FAULT ||
                  o->cause == VMCTL_CAUSE_HANG))
        outcome_fail(&m->outcome, VMCTL_CAUSE_PANIC, "%s", panic);
}

static const struct outcome *on_wake(struct machine *m)
{
    take_output(m);
    return linux_vcpus_outcome(&m->guest_linux.vcpus);
}

// A guest that was halted, or died so: nothing but this tells. One that spins is envd's watchdog's to find.
static void on_look(void *arg, uint32_t events)
{
    (void)events;
    struct machine *m = arg;
    struct machine_linux *l = &m->guest_linux;
    if (!linux_vcpus_look_dead(&l->vcpus)) {
        loop_timer_set(l->look_timer, io_monotonic_ns() + LOOK_GAP_NS);
        return;
    }
    outcome_fail(&m->outcome, VMCTL_CAUSE_HANG,
                 "every vCPU is halted with interrupts off: the guest was halted, or its kernel died");
    loop_stop(m->loop);
}

// What failed is in the guest's log beside what the guest made of it. On a vCPU thread, which must not write
// there, nothing is said: the figures have it, and the next failure comes.
static void on_disk_failed(void *arg, int error)
{
    const struct machine_slot *slot = arg;
    struct machine *m = slot->machine;
    const size_t i = (size_t)(slot - m->slots) - MACHINE_DEVICES;
    const struct wire_view id = m->config->vm.disks[i].id;
    uint64_t *said_ns = &m->guest_linux.disk_said_ns[i];
    const uint64_t now_ns = io_monotonic_ns();
    char text[160];
    if (!pthread_equal(pthread_self(), m->io_thread) || (*said_ns != 0 && now_ns - *said_ns < SAID_GAP_NS))
        return;
    *said_ns = now_ns;
    snprintf(text, sizeof text,
             "disk %zu%s%.*s: the host cannot do what the guest asks: %s; it sees I/O errors", i,
             id.len ? " " : "", (int)id.len, (const char *)id.data, strerror(-error));
    machine_note(m, text);
}

// ---- making it ----

static int make_vm(struct machine *m, struct err *err)
{
    return kvm_linux_init(&m->guest_linux.vm, m->config->kvm_fd, &m->mem, m->config->vm.n_vcpus, err);
}

static int open_backend(struct block_backend **ret, const struct vmctl_disk *d, const int fds[2],
                        struct err *err)
{
    if (!(d->flags & VMCTL_DISK_OVERLAY))
        return block_raw_open(ret, fds[0], d->flags & VMCTL_DISK_READ_ONLY, err);
    const struct block_overlay_options options = {.base_fd = fds[0], .file_fd = fds[1]};
    if (block_file_bytes(fds[1]) == 0) {
        int rc = block_overlay_format(&options, d->bytes, 0, err);
        if (rc < 0)
            return rc;
    }
    return block_overlay_open(ret, &options, err);
}

static int make_disk(struct machine *m, size_t i, struct err *err)
{
    struct machine_linux *l = &m->guest_linux;
    const struct vmctl_disk *d = &m->config->vm.disks[i];
    int rc = open_backend(&l->backends[i], d, m->config->disk_fds[i], err);
    if (rc < 0)
        return err_wrap(err, rc, "disk %zu", i);
    struct virtio_blk_options options = {
        .backend = l->backends[i],
        .rate = {.requests_per_s = d->requests_per_s, .bytes_per_s = d->bytes_per_s},
        .failed = on_disk_failed,
        .arg = &m->slots[m->n_slots]};

    memcpy(options.id, d->id.data, d->id.len);
    const struct virtio_machine vm = machine_for_device(m, m->n_slots);
    rc = virtio_blk_new(&l->disks[i], &vm, &options, err);
    if (rc < 0)
        return err_wrap(err, rc, "disk %zu", i);
    machine_slot_add(m, virtio_blk_device(l->disks[i]));
    return 0;
}

static int make_balloon(struct machine *m, struct err *err)
{
    const struct virtio_machine vm = machine_for_device(m, m->n_slots);
    int rc = virtio_balloon_new(&m->guest_linux.balloon, &vm, err);
    if (rc == 0)
        machine_slot_add(m, virtio_balloon_device(m->guest_linux.balloon));
    return rc;
}

static uint64_t window_of(size_t slot)
{
    return LINUX_MMIO_GPA + slot * LINUX_MMIO_STRIDE;
}

static int plug_devices(struct machine *m, struct acpi_device devices[MACHINE_SLOTS_MAX], struct err *err)
{
    const struct kvm_vm *vm = &m->guest_linux.vm;
    for (size_t i = 0; i < m->n_slots; i++) {
        devices[i] = (struct acpi_device){
            .gpa = (uint32_t)window_of(i), .bytes = VIRTIO_MMIO_BYTES, .gsi = LINUX_VIRTIO_GSI + (uint32_t)i};
        m->slots[i].gsi = devices[i].gsi;
        int rc = machine_add_doorbells(&m->slots[i], vm, window_of(i), err);
        if (rc < 0)
            return err_wrap(err, rc, "device %s", m->slots[i].dev->ops->name);
    }
    int fd = kvm_linux_add_irq(vm, LINUX_SERIAL_GSI, err);
    if (fd < 0)
        return fd;
    m->guest_linux.serial_irq_fd = fd;
    return 0;
}

static int load_files(struct machine *m, const struct acpi_machine *acpi, struct linux_start *ret_start,
                      enum vmctl_cause *ret_cause, struct err *err)
{
    const struct wire_view words = m->config->vm.cmdline;
    char cmdline[sizeof CMDLINE + 1 + VMCTL_CMDLINE_MAX];
    snprintf(cmdline, sizeof cmdline, "%s%s%.*s", CMDLINE, words.len ? " " : "", (int)words.len,
             (const char *)words.data);
    const struct linux_source source = {.kernel_fd = m->config->kernel_fd,
                                        .initrd_fd = m->config->initrd_fd,
                                        .cmdline = cmdline,
                                        .acpi = acpi};
    return linux_load(&m->mem, &source, ret_start, ret_cause, err);
}

static int load(struct machine *m, enum vmctl_cause *ret_cause, struct err *err)
{
    struct machine_linux *l = &m->guest_linux;
    int rc = 0;
    *ret_cause = VMCTL_CAUSE_CONFIG;
    for (size_t i = 0; rc == 0 && i < m->config->vm.n_disks; i++)
        rc = make_disk(m, i, err);
    if (rc == 0)
        rc = make_balloon(m, err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_KVM;
    struct acpi_device devices[MACHINE_SLOTS_MAX];
    rc = plug_devices(m, devices, err);
    if (rc < 0)
        return rc;
    const struct acpi_machine acpi = {.gpa = LINUX_ACPI_GPA,
                                      .n_cpus = m->config->vm.n_vcpus,
                                      .devices = devices,
                                      .n_devices = m->n_slots,
                                      .serial_port = LINUX_SERIAL_PORT,
                                      .serial_gsi = LINUX_SERIAL_GSI,
                                      .reset_port = LINUX_RESET_PORT,
                                      .sleep_control_port = LINUX_SLEEP_PORT,
                                      .sleep_status_port = LINUX_STATUS_PORT,
                                      .reset_value = LINUX_RESET_VALUE};
    struct linux_start start;
    rc = load_files(m, &acpi, &start, ret_cause, err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_KVM;
    return kvm_linux_set_start(&l->vm, &start, err);
}

static int start(struct machine *m, struct err *err)
{
    struct machine_linux *l = &m->guest_linux;
    const struct linux_bus_options options = {
        .mmio = m->mmio, .n_mmio = m->n_slots, .serial_irq_fd = l->serial_irq_fd, .wake_fd = m->wake_fd};
    linux_bus_init(&l->bus, &options);
    l->look_timer = loop_add_timer(m->loop, on_look, m);
    if (!l->look_timer)
        return err_errno(err, -ENOMEM, "a timer");
    loop_timer_set(l->look_timer, io_monotonic_ns() + LOOK_GAP_NS);
    int rc = linux_vcpus_init(&l->vcpus, &l->vm, &l->bus, m->wake_fd, err);
    return rc < 0 ? rc : linux_vcpus_start(&l->vcpus, err);
}

static void hold(struct machine *m)
{
    linux_vcpus_hold(&m->guest_linux.vcpus);
}

static void release(struct machine *m)
{
    linux_vcpus_release(&m->guest_linux.vcpus);
}

static bool is_held(struct machine *m)
{
    return linux_vcpus_held(&m->guest_linux.vcpus);
}

static uint64_t cpu_ns(struct machine *m)
{
    return linux_vcpus_cpu_ns(&m->guest_linux.vcpus);
}

static void add_stats(struct machine *m, struct vmctl_stats *stats)
{
    const struct machine_linux *l = &m->guest_linux;
    stats->balloon_bytes = virtio_balloon_counts(l->balloon).inflated_bytes;
    for (size_t i = 0; i < m->config->vm.n_disks; i++) {
        const struct virtio_blk_counters c = virtio_blk_counters(l->disks[i]);
        stats->disk_reads += c.reads;
        stats->disk_writes += c.writes;
        stats->disk_read_bytes += c.read_bytes;
        stats->disk_write_bytes += c.written_bytes;
        stats->disk_flushes += c.flushes;
        stats->disk_errors += c.failed;
        if (c.last_error < 0)
            stats->disk_last_errno = (uint64_t)-c.last_error;
    }
}

static void balloon(struct machine *m, uint32_t target_mib)
{
    const uint32_t memory_mib = m->config->vm.memory_mib;
    const uint64_t mib = target_mib < memory_mib ? memory_mib - target_mib : 0;
    virtio_balloon_set_target(m->guest_linux.balloon, (uint32_t)((mib << 20) / VIRTIO_BALLOON_PAGE_BYTES));
}

static void stop(struct machine *m)
{
    linux_vcpus_stop(&m->guest_linux.vcpus);
}

static void done(struct machine *m)
{
    struct machine_linux *l = &m->guest_linux;
    virtio_balloon_free(l->balloon);
    for (size_t i = 0; i < VMCTL_DISKS_MAX; i++) {
        virtio_blk_free(l->disks[i]);
        block_close(l->backends[i]);
    }
    if (l->serial_irq_fd > 0)
        close(l->serial_irq_fd);
    kvm_vm_done(&l->vm);
}

const struct machine_kind machine_kind_linux = {
    .pages = GUEST_MEMORY_HUGE_PAGES,
    .offloads = true,
    .make_vm = make_vm,
    .load = load,
    .start = start,
    .raise = raise_guest,
    .on_wake = on_wake,
    .on_output = on_output,
    .drain = drain,
    .hold = hold,
    .release = release,
    .is_held = is_held,
    .cpu_ns = cpu_ns,
    .add_stats = add_stats,
    .balloon = balloon,
    .stop = stop,
    .done = done,
};
