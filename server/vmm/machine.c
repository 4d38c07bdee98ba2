// Owns a machine as a whole: what is made in which order, and who tells whom. Called by main. Devices know
// nothing of vCPUs and vCPUs nothing of devices: notifications pass through here.
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/io.h"
#include "console_attach.h"
#include "machine_kind.h"
#include "proto/agent.h"

#define FLUSH_GAP_NS 2000000ull // between two LOG hints
#define GUEST_CID    3u
#define RNG_BYTES_S  (1u << 20)
#define DOORBELL     0x50u // virtio-mmio QueueNotify

static const struct machine_kind *const kinds[VMCTL_KIND_COUNT] = {
    [VMCTL_KIND_CELL] = &machine_kind_cell,
    [VMCTL_KIND_LINUX] = &machine_kind_linux,
};

// ---- what happens while the guest runs ----

static void raise_guest(void *arg)
{
    struct machine_slot *slot = arg;
    slot->machine->kind->raise(slot);
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

void machine_log(struct machine *m, const uint8_t *untrusted_data, size_t len)
{
    if (m->kind->on_output)
        m->kind->on_output(m, untrusted_data, len);
    console_attach_output(m->attach, untrusted_data, len);
    guest_log_write(&m->log, untrusted_data, len, io_monotonic_ns());
    schedule_flush(m);
}

void machine_note(struct machine *m, const char *text)
{
    guest_log_note(&m->log, text);
    schedule_flush(m);
}

static void on_console_data(void *arg, const uint8_t *untrusted_data, size_t len)
{
    machine_log(arg, untrusted_data, len);
}

static void on_device_broken(void *arg, const char *device, const char *why)
{
    const struct machine_slot *slot = arg;
    // May come from a vCPU thread, which must not write the log.
    if (!pthread_equal(pthread_self(), slot->machine->io_thread))
        return;
    char text[160];
    snprintf(text, sizeof text, "device %s stopped: %s", device, why);
    machine_note(slot->machine, text);
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

static void say_state(struct machine *m, enum vmctl_state state)
{
    const struct outcome o = {.state = state};
    control_set_state(m->control, &o);
}

static void on_wake(void *arg, uint32_t events)
{
    (void)events;
    struct machine *m = arg;
    uint64_t count;
    if (read(m->wake_fd, &count, sizeof count) < 0)
        return;
    const struct outcome *o = m->kind->on_wake(m);
    if (o) {
        m->outcome = *o;
        loop_stop(m->loop);
    } else if (m->pause == MACHINE_PAUSES && m->kind->is_held(m)) {
        m->pause = MACHINE_PAUSED;
        say_state(m, VMCTL_PAUSED);
    }
}

// ---- orders ----

// Devices first: what they have for the guest waits for the resume. I/O that is with the kernel already goes
// on.
static void on_pause(void *arg)
{
    struct machine *m = arg;
    if (m->pause == MACHINE_PAUSED)
        say_state(m, VMCTL_PAUSED);
    if (m->pause != MACHINE_RUNS)
        return;
    m->pause = MACHINE_PAUSES;
    loop_hold(m->loop);
    m->kind->hold(m);
}

static void on_resume(void *arg)
{
    struct machine *m = arg;
    if (m->pause != MACHINE_RUNS) {
        m->pause = MACHINE_RUNS;
        m->kind->release(m);
        loop_release(m->loop);
    }
    say_state(m, VMCTL_RUNNING);
}

static int on_console(void *arg)
{
    struct machine *m = arg;
    struct err err;
    int fd = -1;
    int rc = m->attach ? 0 : console_attach_new(&m->attach, m->loop, m->console, &err);
    if (rc == 0)
        rc = console_attach_open(m->attach, &fd, &err);
    return rc < 0 ? rc : fd;
}

static void on_resize(void *arg, uint16_t columns, uint16_t rows)
{
    struct machine *m = arg;
    virtio_console_resize(m->console, columns, rows);
}

static void on_balloon(void *arg, uint32_t target_mib)
{
    struct machine *m = arg;
    if (m->kind->balloon)
        m->kind->balloon(m, target_mib);
}

static void on_stats(void *arg, struct vmctl_stats *ret)
{
    struct machine *m = arg;
    const struct virtio_net_counters net = virtio_net_counters(m->net);
    const uint64_t memory_bytes = m->mem.size_bytes + m->mem.high_bytes;
    *ret = (struct vmctl_stats){
        .cpu_ns = m->kind->cpu_ns(m),
        .rss_bytes = residency_guest_bytes(&m->residency, memory_bytes),
        .guest_memory_bytes = memory_bytes,
        .net_rx_bytes = net.to_guest_bytes,
        .net_rx_packets = net.to_guest_frames,
        .net_rx_dropped = net.to_guest_dropped,
        .net_tx_bytes = net.from_guest_bytes,
        .net_tx_packets = net.from_guest_frames,
        .net_tx_dropped = net.from_guest_dropped,
    };
    if (m->kind->add_stats)
        m->kind->add_stats(m, ret);
}

// ---- making it ----

static int make_loop(struct machine *m, struct err *err)
{
    m->loop = loop_new();
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!m->loop || m->wake_fd < 0)
        return err_errno(err, -errno, "make the event loop");
    m->flush_timer = loop_add_timer(m->loop, on_flush, m);
    m->wake_source = loop_add(m->loop, m->wake_fd, EPOLLIN, on_wake, m);
    if (!m->flush_timer || !m->wake_source)
        return err_errno(err, -errno, "make the event loop");
    loop_keep_awake(m->flush_timer);
    loop_keep_awake(m->wake_source);
    return 0;
}

int machine_init(struct machine *m, const struct config *config, struct control *control,
                 enum vmctl_cause *ret_cause, struct err *err)
{
    *m = (struct machine){.config = config, .control = control, .wake_fd = -1, .io_thread = pthread_self()};
    const struct vmctl_config *c = &config->vm;
    m->kind = kinds[c->kind];
    m->cell.kvm.vm = m->guest_linux.vm = kvm_vm_none();
    *ret_cause = VMCTL_CAUSE_MEMORY;
    int rc = guest_memory_init(&m->mem, (uint64_t)c->memory_mib << 20, m->kind->pages, err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_CONFIG;
    rc = guest_log_init(&m->log, config->log_fd, c->log_bytes_per_s, c->log_burst_bytes, io_monotonic_ns(),
                        err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_INTERNAL;
    rc = make_loop(m, err);
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_KVM;
    return m->kind->make_vm(m, err);
}

struct virtio_machine machine_for_device(struct machine *m, size_t slot)
{
    return (struct virtio_machine){.memory = &m->mem,
                                   .loop = m->loop,
                                   .raise = raise_guest,
                                   .broken = on_device_broken,
                                   .arg = &m->slots[slot]};
}

struct machine_slot *machine_slot_add(struct machine *m, struct virtio_device *dev)
{
    struct machine_slot *slot = &m->slots[m->n_slots];
    *slot = (struct machine_slot){.machine = m, .dev = dev};
    virtio_mmio_init(&m->mmio[m->n_slots++], dev);
    return slot;
}

int machine_add_doorbells(const struct machine_slot *slot, const struct kvm_vm *vm, uint64_t gpa,
                          struct err *err)
{
    for (unsigned q = 0; q < slot->dev->ops->n_queues; q++) {
        int rc = kvm_vm_add_doorbell(vm, gpa + DOORBELL, q, virtio_device_doorbell(slot->dev, q), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int make_net(struct machine *m, const struct virtio_machine *vm, struct err *err)
{
    const struct virtio_net_rate rate = {.packets_per_s = m->config->vm.net_packets_per_s,
                                         .bits_per_s = m->config->vm.net_bits_per_s};
    struct virtio_net_options net = {
        .tap_fd = m->config->tap_fd, .offloads = m->kind->offloads, .to_guest = rate, .from_guest = rate};
    memcpy(net.mac, m->config->vm.mac, sizeof net.mac);
    // Access mode is ignored here: the only thing that changes is that nothing blocks.
    if (fcntl(m->config->tap_fd, F_SETFL, O_NONBLOCK) < 0)
        return err_errno(err, -errno, "make the tap non-blocking");
    return virtio_net_new(&m->net, vm, &net, err);
}

// The devices of every machine, in the order of its first slots.
static int make_devices(struct machine *m, struct err *err)
{
    const struct virtio_vsock_options vsock = {
        .guest_cid = GUEST_CID, .port = AGENT_VSOCK_PORT, .accept = on_guest_connection, .arg = m};
    struct virtio_machine vm[MACHINE_DEVICES];
    for (size_t i = 0; i < MACHINE_DEVICES; i++)
        vm[i] = machine_for_device(m, i);
    int rc = virtio_console_new(&m->console, &vm[0], on_console_data, m, err);
    if (rc == 0)
        rc = virtio_vsock_new(&m->vsock, &vm[1], &vsock, err);
    if (rc == 0)
        rc = make_net(m, &vm[2], err);
    if (rc == 0)
        rc = virtio_rng_new(&m->rng, &vm[3], RNG_BYTES_S, err);
    if (rc < 0)
        return rc;
    machine_slot_add(m, virtio_console_device(m->console));
    machine_slot_add(m, virtio_vsock_device(m->vsock));
    machine_slot_add(m, virtio_net_device(m->net));
    machine_slot_add(m, virtio_rng_device(m->rng));
    return 0;
}

int machine_load(struct machine *m, enum vmctl_cause *ret_cause, struct err *err)
{
    *ret_cause = VMCTL_CAUSE_INTERNAL;
    int rc = make_devices(m, err);
    if (rc < 0)
        return rc;
    residency_init(&m->residency, m->config->statm_fd);
    return m->kind->load(m, ret_cause, err);
}

int machine_run(struct machine *m, struct err *err)
{
    static const struct control_ops control_ops = {.quit = on_quit,
                                                   .pause = on_pause,
                                                   .resume = on_resume,
                                                   .console = on_console,
                                                   .resize = on_resize,
                                                   .balloon = on_balloon,
                                                   .stats = on_stats};
    int rc = m->kind->start(m, err);
    if (rc < 0)
        return rc;
    say_state(m, VMCTL_RUNNING);
    rc = control_watch(m->control, m->loop, &control_ops, m);
    if (rc == 0)
        rc = loop_run(m->loop);
    m->kind->stop(m);
    if (rc < 0)
        return err_errno(err, rc, "the event loop");
    // The guest's last words before the news of its end.
    m->kind->drain(m);
    guest_log_settle(&m->log);
    flush_log(m);
    return 0;
}

void machine_done(struct machine *m)
{
    if (!m->kind)
        return;
    m->kind->stop(m);
    console_attach_free(m->attach);
    virtio_console_free(m->console);
    virtio_vsock_free(m->vsock);
    virtio_net_free(m->net);
    virtio_rng_free(m->rng);
    m->kind->done(m);
    control_done(m->control);
    loop_free(m->loop);
    if (m->wake_fd >= 0)
        close(m->wake_fd);
    guest_memory_done(&m->mem);
}
