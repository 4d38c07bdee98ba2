// Owns a cell as a whole: what is made in which order, and who tells whom. Called by main. Devices know
// nothing of the vCPU and the vCPU nothing of devices: notifications pass through here.
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "boot/cell.h"
#include "boot/layout.h"
#include "common/checked.h"
#include "common/io.h"
#include "proto/agent.h"

#define TICK_NS      1000000000ull
#define FLUSH_GAP_NS 2000000ull // between two LOG hints
#define GUEST_CID    3u
#define RNG_BYTES_S  (1u << 20)
#define DOORBELL     0x50u // virtio-mmio QueueNotify

// ---- what happens while the guest runs ----

static void raise_guest(void *arg)
{
    struct machine *m = arg;
    const bool running = vcpu_notify(&m->vcpu);
    // On the vCPU's own thread the guest is in its driver: no need to interrupt it.
    if (!running || m->nudging || !pthread_equal(pthread_self(), m->io_thread))
        return;
    m->nudging = true;
    loop_timer_set(m->nudge_timer, io_monotonic_ns() + VCPU_NUDGE_NS);
}

static void on_nudge(void *arg, uint32_t events)
{
    (void)events;
    struct machine *m = arg;
    m->nudging = vcpu_nudge(&m->vcpu);
    if (m->nudging)
        loop_timer_set(m->nudge_timer, io_monotonic_ns() + VCPU_NUDGE_NS);
}

static void on_tick(void *arg, uint32_t events)
{
    (void)events;
    struct machine *m = arg;
    if (vcpu_clock_pause(&m->vcpu))
        return; // on_wake() goes on
    clock_page_refresh(&m->clock);
    const uint64_t now_ns = io_monotonic_ns();
    if (vcpu_is_late(&m->vcpu, now_ns))
        raise_guest(m);
    loop_timer_set(m->tick_timer, now_ns + TICK_NS);
}

static void flush_log(struct machine *m)
{
    if (guest_log_flush(&m->log))
        control_set_log(m->control, m->log.ring.total);
    m->flushed_ns = io_monotonic_ns();
}

static void on_flush(void *arg, uint32_t events)
{
    (void)events;
    flush_log(arg);
}

// The timer fires at the end of this round, or when the gap is over: one header and one hint for many lines.
static void schedule_flush(struct machine *m)
{
    loop_timer_set(m->flush_timer, m->flushed_ns + FLUSH_GAP_NS);
}

static void on_console_data(void *arg, const uint8_t *untrusted_data, size_t len)
{
    struct machine *m = arg;
    guest_log_write(&m->log, untrusted_data, len, io_monotonic_ns());
    schedule_flush(m);
}

static void on_device_broken(void *arg, const char *device, const char *why)
{
    struct machine *m = arg;
    // May come from the vCPU thread, which must not write the log.
    if (!pthread_equal(pthread_self(), m->io_thread))
        return;
    char text[160];
    snprintf(text, sizeof text, "device %s stopped: %s", device, why);
    guest_log_note(&m->log, text);
    schedule_flush(m);
}

static int on_guest_connection(void *arg, uint32_t guest_port, uint32_t host_port, int fd)
{
    struct machine *m = arg;
    return control_add_stream(m->control, guest_port, host_port, fd);
}

static void on_quit(void *arg)
{
    struct machine *m = arg;
    outcome_exit(&m->outcome, 0, "stopped by the host");
    loop_stop(m->loop);
}

// The vCPU thread wrote wake_fd: the guest has ended, or a long idle has.
static void on_wake(void *arg, uint32_t events)
{
    (void)events;
    struct machine *m = arg;
    uint64_t count;
    if (read(m->wake_fd, &count, sizeof count) < 0)
        return;
    const struct outcome *o = vcpu_outcome(&m->vcpu);
    if (o) {
        m->outcome = *o;
        loop_stop(m->loop);
        return;
    }
    loop_timer_set(m->tick_timer, io_monotonic_ns() + TICK_NS);
}

// ---- making it ----

static int make_loop(struct machine *m, struct err *err)
{
    m->loop = loop_new();
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!m->loop || m->wake_fd < 0)
        return err_errno(err, -errno, "make the event loop");
    m->tick_timer = loop_add_timer(m->loop, on_tick, m);
    m->nudge_timer = loop_add_timer(m->loop, on_nudge, m);
    m->flush_timer = loop_add_timer(m->loop, on_flush, m);
    m->wake_source = loop_add(m->loop, m->wake_fd, EPOLLIN, on_wake, m);
    if (!m->tick_timer || !m->nudge_timer || !m->flush_timer || !m->wake_source)
        return err_errno(err, -errno, "make the event loop");
    return 0;
}

int machine_init(struct machine *m, const struct config *config, struct control *control,
                 enum vmctl_cause *ret_cause, struct err *err)
{
    *m = (struct machine){.config = config, .control = control, .wake_fd = -1, .io_thread = pthread_self()};
    m->vm = (struct kvm_vm){.vm_fd = -1, .vcpu_fd = -1};
    const struct vmctl_config *c = &config->vm;
    *ret_cause = VMCTL_CAUSE_MEMORY;
    int rc = guest_memory_init(&m->mem, (uint64_t)c->memory_mib << 20, err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_CONFIG;
    rc = guest_log_init(&m->log, config->log_fd, c->log_bytes_per_s, c->log_burst_bytes, io_monotonic_ns(),
                        err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_KVM;
    rc = kvm_vm_init(&m->vm, config->kvm_fd, &m->mem, err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_INTERNAL;
    return make_loop(m, err);
}

static int make_devices(struct machine *m, struct err *err)
{
    const struct virtio_machine vm = {
        .memory = &m->mem, .loop = m->loop, .raise = raise_guest, .broken = on_device_broken, .arg = m};
    const struct virtio_vsock_options vsock = {
        .guest_cid = GUEST_CID, .port = AGENT_VSOCK_PORT, .accept = on_guest_connection, .arg = m};
    const struct virtio_net_rate rate = {.packets_per_s = m->config->vm.net_packets_per_s,
                                         .bits_per_s = m->config->vm.net_bits_per_s};
    struct virtio_net_options net = {.tap_fd = m->config->tap_fd, .to_guest = rate, .from_guest = rate};
    memcpy(net.mac, m->config->vm.mac, sizeof net.mac);
    // Access mode is ignored here: the only thing that changes is that nothing blocks.
    int rc = fcntl(m->config->tap_fd, F_SETFL, O_NONBLOCK) < 0
                 ? err_errno(err, -errno, "make the tap non-blocking")
                 : 0;
    if (rc == 0)
        rc = virtio_console_new(&m->console, &vm, on_console_data, m, err);
    if (rc == 0)
        rc = virtio_vsock_new(&m->vsock, &vm, &vsock, err);
    if (rc == 0)
        rc = virtio_net_new(&m->net, &vm, &net, err);
    if (rc == 0)
        rc = virtio_rng_new(&m->rng, &vm, RNG_BYTES_S, err);
    return rc;
}

// Puts a device into slot `slot`: queues on the next free pages, doorbells, and the state after a driver's
// negotiation (all features), which a cell is thus spared.
static int plug(struct machine *m, size_t slot, struct virtio_device *dev, uint64_t *queue_gpa,
                struct cell_device *ret, struct err *err)
{
    *ret = (struct cell_device){.type = dev->ops->id,
                                .n_queues = dev->ops->n_queues,
                                .mmio_gpa = CELL_MMIO_GPA + slot * CELL_MMIO_STRIDE,
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
        int rc =
            kvm_vm_add_doorbell(&m->vm, ret->mmio_gpa + DOORBELL, q, virtio_device_doorbell(dev, q), err);
        if (rc < 0)
            return rc;
    }
    virtio_mmio_init(&m->mmio[slot], dev);
    return virtio_device_preset(dev, ret->features, queues, ret->n_queues, err);
}

static int plug_devices(struct machine *m, struct cell_device ret[MACHINE_DEVICES], struct err *err)
{
    struct virtio_device *const slots[MACHINE_DEVICES] = {
        virtio_console_device(m->console),
        virtio_vsock_device(m->vsock),
        virtio_net_device(m->net),
        virtio_rng_device(m->rng),
    };
    uint64_t queue_gpa = CELL_QUEUES_GPA;
    for (size_t i = 0; i < MACHINE_DEVICES; i++) {
        int rc = plug(m, i, slots[i], &queue_gpa, &ret[i], err);
        if (rc < 0)
            return err_wrap(err, rc, "device %s", slots[i]->ops->name);
    }
    return 0;
}

static int load_cell(struct machine *m, const struct cell_device *devices, enum vmctl_cause *ret_cause,
                     struct err *err)
{
    const struct cell_source source = {.kernel_fd = m->config->kernel_fd,
                                       .program_fd = m->config->program_fd,
                                       .archive_fd = m->config->archive_fd,
                                       .config = &m->config->vm,
                                       .flavour = m->vm.flavour,
                                       .has_fsgsbase = m->vm.has_fsgsbase,
                                       .hwcap = m->vm.hwcap,
                                       .devices = devices,
                                       .n_devices = MACHINE_DEVICES};
    return cell_load(&m->mem, &source, &m->kernel, ret_cause, err);
}

int machine_load(struct machine *m, enum vmctl_cause *ret_cause, struct err *err)
{
    struct cell_device devices[MACHINE_DEVICES];
    *ret_cause = VMCTL_CAUSE_INTERNAL;
    int rc = make_devices(m, err);
    if (rc == 0)
        rc = plug_devices(m, devices, err);
    if (rc == 0)
        rc = load_cell(m, devices, ret_cause, err);
    if (rc < 0)
        return rc;
    clock_page_init(&m->clock, guest_memory_at(&m->mem, CELL_SHARED_GPA, sizeof(struct cell_shared)),
                    m->vm.tsc_khz);
    clock_page_refresh(&m->clock);
    const bool is_pvm = m->vm.flavour == CELL_FLAVOUR_PVM;
    const struct kvm_start start = {.rip = m->kernel.entry,
                                    .rdi = CELL_BOOT_GPA,
                                    .lstar = is_pvm ? m->kernel.syscall_direct : BOOT_SYSCALL_GPA};
    *ret_cause = VMCTL_CAUSE_KVM;
    return kvm_vm_set_start(&m->vm, &start, err);
}

int machine_run(struct machine *m, struct err *err)
{
    static const struct control_ops control_ops = {.quit = on_quit};
    const struct vcpu_config config = {.vm = &m->vm,
                                       .mem = &m->mem,
                                       .kernel = m->kernel,
                                       .clock = &m->clock,
                                       .mmio = m->mmio,
                                       .n_mmio = MACHINE_DEVICES,
                                       .wake_fd = m->wake_fd};
    int rc = vcpu_init(&m->vcpu, &config, err);
    if (rc == 0)
        rc = vcpu_start(&m->vcpu, err);
    if (rc < 0)
        return rc;
    const struct outcome running = {.state = VMCTL_RUNNING};
    control_set_state(m->control, &running);
    loop_timer_set(m->tick_timer, io_monotonic_ns() + TICK_NS);
    rc = control_watch(m->control, m->loop, &control_ops, m);
    if (rc == 0)
        rc = loop_run(m->loop);
    vcpu_stop(&m->vcpu);
    if (rc < 0)
        return err_errno(err, rc, "the event loop");
    // The guest's last words before the news of its end.
    virtio_console_drain(m->console);
    guest_log_settle(&m->log);
    flush_log(m);
    return 0;
}

void machine_done(struct machine *m)
{
    vcpu_stop(&m->vcpu);
    virtio_console_free(m->console);
    virtio_vsock_free(m->vsock);
    virtio_net_free(m->net);
    virtio_rng_free(m->rng);
    control_done(m->control);
    loop_free(m->loop);
    clock_page_done(&m->clock);
    kvm_vm_done(&m->vm);
    if (m->wake_fd >= 0)
        close(m->wake_fd);
    guest_memory_done(&m->mem);
}
