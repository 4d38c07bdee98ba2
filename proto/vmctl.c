// The datagrams on envvm's control socket and the VM's configuration (vmctl.h). Knows the payloads, not the
// order.
#include "proto/vmctl.h"

#include <string.h>

#include "fields.h"

// "KEY=value", the key not empty.
static bool env_entry_valid(struct wire_view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.data[i] == '=')
            return i > 0;
    return false;
}

// A u16 count and that many strings; *bytes_left shrinks by each with its NUL.
static uint16_t read_strings(struct wire_reader *r, uint16_t min, struct wire_view out[VMCTL_ARGS_MAX],
                             size_t *bytes_left)
{
    uint16_t n = field_read_u16_in(r, min, VMCTL_ARGS_MAX, "too few or too many arguments or variables");
    for (size_t i = 0; i < n; i++) {
        size_t start = r->pos;
        out[i] = wire_read_str(r, UINT16_MAX);
        if (out[i].len + 1 > *bytes_left) {
            wire_reader_fail_at(r, start, "arguments and environment together are too long");
            *bytes_left = 0;
        } else {
            *bytes_left -= out[i].len + 1;
        }
    }
    return n;
}

static void read_env(struct wire_reader *r, struct vmctl_config *c, size_t *bytes_left)
{
    size_t start = r->pos;
    c->n_env = read_strings(r, 0, c->env, bytes_left);
    for (size_t i = 0; wire_reader_ok(r) && i < c->n_env; i++)
        if (!env_entry_valid(c->env[i]))
            wire_reader_fail_at(r, start, "an environment variable is not KEY=value");
}

// Every byte printable, or a letter of UTF-8: the kernel's own parser splits at spaces.
static void read_cmdline(struct wire_reader *r, struct vmctl_config *c)
{
    size_t start = r->pos;
    c->cmdline = wire_read_str(r, VMCTL_CMDLINE_MAX);
    for (size_t i = 0; i < c->cmdline.len; i++)
        if (c->cmdline.data[i] < 0x20 || c->cmdline.data[i] == 0x7f)
            wire_reader_fail_at(r, start, "the kernel command line has a control character");
}

static void read_disk(struct wire_reader *r, struct vmctl_disk *ret)
{
    ret->flags =
        field_read_u8_in(r, 0, VMCTL_DISK_OVERLAY, "a disk is neither raw, read-only nor an overlay");
    ret->id = wire_read_str(r, VMCTL_DISK_ID_MAX);
    ret->bytes = wire_read_u64(r);
    ret->requests_per_s = wire_read_u64(r);
    ret->bytes_per_s = wire_read_u64(r);
}

static void read_linux(struct wire_reader *r, struct vmctl_config *c)
{
    read_cmdline(r, c);
    c->has_initrd = field_read_u8_in(r, 0, 1, "a flag is neither 0 nor 1");
    c->n_disks = field_read_u8_in(r, 0, VMCTL_DISKS_MAX, "too many disks");
    for (size_t i = 0; i < c->n_disks; i++)
        read_disk(r, &c->disks[i]);
}

static void read_size(struct wire_reader *r, struct vmctl_config *c)
{
    const bool is_linux = c->kind == VMCTL_KIND_LINUX;
    c->n_vcpus = is_linux ? field_read_u8_in(r, 1, VMCTL_VCPUS_MAX, "not 1 to 16 vCPUs")
                          : field_read_u8_in(r, 1, 1, "a cell has one vCPU");
    c->memory_mib = is_linux ? field_read_u32_in(r, VMCTL_LINUX_MEMORY_MIN_MIB, VMCTL_LINUX_MEMORY_MAX_MIB,
                                                 "memory is not 32 to 1048576 MiB")
                             : field_read_u32_in(r, VMCTL_MEMORY_MIN_MIB, VMCTL_MEMORY_MAX_MIB,
                                                 "memory is not 8 to 3072 MiB");
}

bool vmctl_config_read(const void *data, size_t len, struct vmctl_config *ret, struct wire_error *ret_error)
{
    struct wire_reader r;
    wire_reader_init(&r, data, len);
    size_t args_bytes_left = VMCTL_ARGS_BYTES_MAX;
    if (len > VMCTL_CONFIG_MAX)
        wire_reader_fail(&r, "configuration too long");
    field_read_u16_in(&r, VMCTL_VERSION, VMCTL_VERSION, "unknown configuration version");
    ret->tenant = field_read_name(&r);
    ret->name = field_read_name(&r);
    ret->kind = field_read_u8_in(&r, 0, VMCTL_KIND_COUNT - 1, "unknown kind of virtual machine");
    read_size(&r, ret);
    field_read_mac(&r, ret->mac);
    ret->ipv4 = wire_read_u32(&r);
    ret->gateway = wire_read_u32(&r);
    ret->prefix = field_read_u8_in(&r, 0, 32, "the prefix is above 32");
    ret->log_bytes_per_s = wire_read_u32(&r);
    ret->log_burst_bytes = wire_read_u32(&r);
    ret->net_packets_per_s = wire_read_u64(&r);
    ret->net_bits_per_s = wire_read_u64(&r);
    ret->n_args = read_strings(&r, ret->kind == VMCTL_KIND_CELL, ret->args, &args_bytes_left);
    read_env(&r, ret, &args_bytes_left);
    ret->cmdline = (struct wire_view){0};
    ret->has_initrd = false;
    ret->n_disks = 0;
    if (ret->kind == VMCTL_KIND_LINUX)
        read_linux(&r, ret);
    if (wire_reader_end(&r))
        return true;
    *ret_error = r.error;
    return false;
}

static void write_strings(struct wire_writer *w, uint16_t n, const struct wire_view strings[VMCTL_ARGS_MAX])
{
    if (n > VMCTL_ARGS_MAX) {
        w->overflow = true;
        return;
    }
    wire_write_u16(w, n);
    for (size_t i = 0; i < n; i++)
        field_write_view(w, strings[i]);
}

static void write_linux(struct wire_writer *w, const struct vmctl_config *c)
{
    field_write_view(w, c->cmdline);
    wire_write_u8(w, c->has_initrd);
    wire_write_u8(w, c->n_disks);
    for (size_t i = 0; i < c->n_disks && i < VMCTL_DISKS_MAX; i++) {
        wire_write_u8(w, c->disks[i].flags);
        field_write_view(w, c->disks[i].id);
        wire_write_u64(w, c->disks[i].bytes);
        wire_write_u64(w, c->disks[i].requests_per_s);
        wire_write_u64(w, c->disks[i].bytes_per_s);
    }
}

void vmctl_config_write(struct wire_writer *w, const struct vmctl_config *c)
{
    wire_write_u16(w, VMCTL_VERSION);
    field_write_view(w, c->tenant);
    field_write_view(w, c->name);
    wire_write_u8(w, (uint8_t)c->kind);
    wire_write_u8(w, c->n_vcpus);
    wire_write_u32(w, c->memory_mib);
    wire_write_raw(w, c->mac, sizeof c->mac);
    wire_write_u32(w, c->ipv4);
    wire_write_u32(w, c->gateway);
    wire_write_u8(w, c->prefix);
    wire_write_u32(w, c->log_bytes_per_s);
    wire_write_u32(w, c->log_burst_bytes);
    wire_write_u64(w, c->net_packets_per_s);
    wire_write_u64(w, c->net_bits_per_s);
    write_strings(w, c->n_args, c->args);
    write_strings(w, c->n_env, c->env);
    if (c->kind == VMCTL_KIND_LINUX)
        write_linux(w, c);
}

static void read_empty(struct wire_reader *r, struct vmctl_message *m)
{
    (void)r;
    (void)m;
}

static void write_empty(struct wire_writer *w, const struct vmctl_message *m)
{
    (void)w;
    (void)m;
}

static void read_state(struct wire_reader *r, struct vmctl_message *m)
{
    m->state.state = field_read_u8_in(r, VMCTL_BOOTING, VMCTL_PAUSED, "unknown state");
    m->state.cause = field_read_u8_in(r, 0, VMCTL_CAUSE_COUNT - 1, "unknown cause");
    m->state.code = (int32_t)wire_read_u32(r);
    m->state.reason = wire_read_str(r, VMCTL_REASON_MAX);
}

static void write_state(struct wire_writer *w, const struct vmctl_message *m)
{
    wire_write_u8(w, (uint8_t)m->state.state);
    wire_write_u8(w, (uint8_t)m->state.cause);
    wire_write_u32(w, (uint32_t)m->state.code);
    field_write_view(w, m->state.reason);
}

static void read_stream(struct wire_reader *r, struct vmctl_message *m)
{
    m->stream.guest_port = wire_read_u32(r);
    m->stream.host_port = wire_read_u32(r);
}

static void write_stream(struct wire_writer *w, const struct vmctl_message *m)
{
    wire_write_u32(w, m->stream.guest_port);
    wire_write_u32(w, m->stream.host_port);
}

static void read_log(struct wire_reader *r, struct vmctl_message *m)
{
    m->log_total = wire_read_u64(r);
}

static void write_log(struct wire_writer *w, const struct vmctl_message *m)
{
    wire_write_u64(w, m->log_total);
}

static void read_resize(struct wire_reader *r, struct vmctl_message *m)
{
    m->resize.columns = wire_read_u16(r);
    m->resize.rows = wire_read_u16(r);
}

static void write_resize(struct wire_writer *w, const struct vmctl_message *m)
{
    wire_write_u16(w, m->resize.columns);
    wire_write_u16(w, m->resize.rows);
}

static void read_balloon(struct wire_reader *r, struct vmctl_message *m)
{
    m->balloon_target_mib = wire_read_u32(r);
}

static void write_balloon(struct wire_writer *w, const struct vmctl_message *m)
{
    wire_write_u32(w, m->balloon_target_mib);
}

// struct vmctl_stats is nothing but u64.
#define STATS_WORDS (sizeof(struct vmctl_stats) / sizeof(uint64_t))

static void read_stats(struct wire_reader *r, struct vmctl_message *m)
{
    uint64_t words[STATS_WORDS];
    for (size_t i = 0; i < STATS_WORDS; i++)
        words[i] = wire_read_u64(r);
    memcpy(&m->stats, words, sizeof words);
}

static void write_stats(struct wire_writer *w, const struct vmctl_message *m)
{
    uint64_t words[STATS_WORDS];
    memcpy(words, &m->stats, sizeof words);
    for (size_t i = 0; i < STATS_WORDS; i++)
        wire_write_u64(w, words[i]);
}

// CONFIG has no row: its payload is a vmctl_config.
static const struct message_codec {
    void (*read)(struct wire_reader *r, struct vmctl_message *m);
    void (*write)(struct wire_writer *w, const struct vmctl_message *m);
} codecs[VMCTL_TYPE_COUNT] = {
    [VMCTL_QUERY] = {read_empty, write_empty},    [VMCTL_QUIT] = {read_empty, write_empty},
    [VMCTL_STATE] = {read_state, write_state},    [VMCTL_STREAM] = {read_stream, write_stream},
    [VMCTL_LOG] = {read_log, write_log},          [VMCTL_PAUSE] = {read_empty, write_empty},
    [VMCTL_RESUME] = {read_empty, write_empty},   [VMCTL_CONSOLE] = {read_empty, write_empty},
    [VMCTL_RESIZE] = {read_resize, write_resize}, [VMCTL_BALLOON] = {read_balloon, write_balloon},
    [VMCTL_STATS] = {read_empty, write_empty},    [VMCTL_STATS_IS] = {read_stats, write_stats},
};

static void read_prefix(struct wire_reader *r, enum vmctl_type *ret_type)
{
    *ret_type = (enum vmctl_type)field_read_u16_in(r, 1, VMCTL_TYPE_COUNT - 1, "unknown message type");
    field_read_u16_in(r, 0, 0, "reserved bytes are not zero");
}

bool vmctl_read(const void *datagram, size_t len, struct vmctl_message *ret, struct wire_error *ret_error)
{
    struct wire_reader r;
    wire_reader_init(&r, datagram, len);
    read_prefix(&r, &ret->type);
    if (wire_reader_ok(&r)) {
        if (codecs[ret->type].read)
            codecs[ret->type].read(&r, ret);
        else
            wire_reader_fail_at(&r, 0, "CONFIG is out of place");
    }
    if (wire_reader_end(&r))
        return true;
    *ret_error = r.error;
    return false;
}

void vmctl_write(struct wire_writer *w, const struct vmctl_message *m)
{
    wire_write_u16(w, (uint16_t)m->type);
    wire_write_u16(w, 0);
    if (codecs[m->type].write)
        codecs[m->type].write(w, m);
}

enum vmctl_type vmctl_type_of(const void *datagram, size_t len)
{
    struct wire_reader r;
    enum vmctl_type type;
    wire_reader_init(&r, datagram, len);
    read_prefix(&r, &type);
    return wire_reader_ok(&r) ? type : 0;
}

const char *vmctl_state_name(enum vmctl_state s)
{
    static const char *const names[] = {
        [VMCTL_BOOTING] = "booting", [VMCTL_RUNNING] = "running", [VMCTL_EXITED] = "exited",
        [VMCTL_FAILED] = "failed",   [VMCTL_PAUSED] = "paused",
    };
    return s >= VMCTL_BOOTING && s <= VMCTL_PAUSED ? names[s] : "unknown";
}

const char *vmctl_cause_name(enum vmctl_cause c)
{
    static const char *const names[VMCTL_CAUSE_COUNT] = {
        [VMCTL_CAUSE_NONE] = "none",
        [VMCTL_CAUSE_CONFIG] = "config",
        [VMCTL_CAUSE_PROGRAM] = "program",
        [VMCTL_CAUSE_KVM] = "kvm",
        [VMCTL_CAUSE_MEMORY] = "memory",
        [VMCTL_CAUSE_GUEST_FAULT] = "guest-fault",
        [VMCTL_CAUSE_TRIPLE_FAULT] = "triple-fault",
        [VMCTL_CAUSE_INTERNAL] = "internal",
        [VMCTL_CAUSE_HOST] = "host",
        [VMCTL_CAUSE_POWEROFF] = "poweroff",
        [VMCTL_CAUSE_REBOOT] = "reboot",
        [VMCTL_CAUSE_PANIC] = "panic",
        [VMCTL_CAUSE_HANG] = "hang",
    };
    return (unsigned)c < VMCTL_CAUSE_COUNT ? names[c] : "unknown";
}
