// The datagrams between envd and envpriv (privctl.h): one row per type. Knows the payloads, not who may ask
// for what.
#include "proto/privctl.h"

#include "fields.h"
#include "proto/vmctl.h"

#define PREFIX_MIN     8
#define PREFIX_MAX     30
#define CPU_WEIGHT_MAX 10000u
#define ERRNO_MAX      4095u

static struct wire_view read_word(struct wire_reader *r, const char *const words[], const char *what)
{
    size_t start = r->pos;
    struct wire_view v = wire_read_str(r, NAME_MAX_LEN);
    for (size_t i = 0; words[i]; i++)
        if (wire_view_equals(v, words[i]))
            return v;
    wire_reader_fail_at(r, start, what);
    return v;
}

static struct id read_vm(struct wire_reader *r)
{
    size_t start = r->pos;
    struct id vm = field_read_id(r);
    if (id_is_zero(&vm))
        wire_reader_fail_at(r, start, "the VM's id is zero");
    return vm;
}

static void read_hello(struct wire_reader *r, struct privctl_message *m)
{
    m->version = wire_read_u16(r);
}

static void write_hello(struct wire_writer *w, const struct privctl_message *m)
{
    wire_write_u16(w, m->version);
}

// Part of link names, so it holds what a link name may.
static struct wire_view read_instance(struct wire_reader *r)
{
    size_t start = r->pos;
    struct wire_view v = wire_read_str(r, PRIVCTL_INSTANCE_MAX);
    for (size_t i = 0; i < v.len; i++)
        if (!((v.data[i] >= 'a' && v.data[i] <= 'z') || (v.data[i] >= '0' && v.data[i] <= '9')))
            wire_reader_fail_at(r, start, "the instance is not of a-z and 0-9");
    return v;
}

static void read_hello_ok(struct wire_reader *r, struct privctl_message *m)
{
    static const char *const kvm_words[] = {"pvm", "hw", "none", NULL};
    static const char *const cgroup_words[] = {"v1", "v2", "none", NULL};
    m->hello_ok.version = wire_read_u16(r);
    m->hello_ok.instance = read_instance(r);
    m->hello_ok.kvm = read_word(r, kvm_words, "kvm is none of pvm, hw, none");
    m->hello_ok.kvm_detail = wire_read_str(r, PRIVCTL_TEXT_MAX);
    m->hello_ok.cgroup = read_word(r, cgroup_words, "cgroup is none of v1, v2, none");
}

static void write_hello_ok(struct wire_writer *w, const struct privctl_message *m)
{
    wire_write_u16(w, m->hello_ok.version);
    field_write_view(w, m->hello_ok.instance);
    field_write_view(w, m->hello_ok.kvm);
    field_write_view(w, m->hello_ok.kvm_detail);
    field_write_view(w, m->hello_ok.cgroup);
}

static uint16_t read_net(struct wire_reader *r)
{
    return field_read_u16_in(r, 0, PRIVCTL_NET_MAX - 1, "network index out of range");
}

static void read_net_up(struct wire_reader *r, struct privctl_message *m)
{
    m->net.net = read_net(r);
    m->net.gateway = field_read_u32_in(r, 1, UINT32_MAX, "the gateway is 0.0.0.0");
    m->net.prefix = field_read_u8_in(r, PREFIX_MIN, PREFIX_MAX, "the prefix is not 8 to 30");
}

static void write_net_up(struct wire_writer *w, const struct privctl_message *m)
{
    wire_write_u16(w, m->net.net);
    wire_write_u32(w, m->net.gateway);
    wire_write_u8(w, m->net.prefix);
}

static void read_net_down(struct wire_reader *r, struct privctl_message *m)
{
    m->net.net = read_net(r);
    m->net.gateway = 0;
    m->net.prefix = 0;
}

static void write_net_down(struct wire_writer *w, const struct privctl_message *m)
{
    wire_write_u16(w, m->net.net);
}

static void read_spawn(struct wire_reader *r, struct privctl_message *m)
{
    struct privctl_spawn *s = &m->spawn;
    s->vm = read_vm(r);
    field_read_name_cstr(r, s->tenant);
    field_read_name_cstr(r, s->name);
    s->kind = (enum privctl_kind)field_read_u8_in(r, 0, PRIVCTL_KIND_COUNT - 1, "the kind is unknown");
    size_t start = r->pos;
    s->memory_max_bytes = wire_read_u64(r);
    if (s->memory_max_bytes == 0)
        wire_reader_fail_at(r, start, "the memory limit is zero");
    s->cpu_weight = field_read_u32_in(r, 1, CPU_WEIGHT_MAX, "the CPU weight is not 1 to 10000");
    s->cpu_percent = field_read_u32_in(r, 0, PRIVCTL_CPU_PERCENT_MAX, "the CPU quota is over 1000 CPUs");
    s->pids_max = field_read_u32_in(r, 1, UINT32_MAX, "the process limit is zero");
    s->net = read_net(r);
    field_read_mac(r, s->mac);
    s->ipv4 = wire_read_u32(r);
    s->vm_config = wire_read_bytes(r, VMCTL_CONFIG_MAX);
}

static void write_spawn(struct wire_writer *w, const struct privctl_message *m)
{
    const struct privctl_spawn *s = &m->spawn;
    field_write_id(w, &s->vm);
    wire_write_cstr(w, s->tenant);
    wire_write_cstr(w, s->name);
    wire_write_u8(w, (uint8_t)s->kind);
    wire_write_u64(w, s->memory_max_bytes);
    wire_write_u32(w, s->cpu_weight);
    wire_write_u32(w, s->cpu_percent);
    wire_write_u32(w, s->pids_max);
    wire_write_u16(w, s->net);
    wire_write_raw(w, s->mac, sizeof s->mac);
    wire_write_u32(w, s->ipv4);
    wire_write_bytes(w, s->vm_config.data, s->vm_config.len);
}

static void read_spawn_ok(struct wire_reader *r, struct privctl_message *m)
{
    m->spawn_ok.vm = read_vm(r);
    m->spawn_ok.pid = field_read_u32_in(r, 1, INT32_MAX, "no process id");
    m->spawn_ok.uid = wire_read_u32(r);
}

static void write_spawn_ok(struct wire_writer *w, const struct privctl_message *m)
{
    field_write_id(w, &m->spawn_ok.vm);
    wire_write_u32(w, m->spawn_ok.pid);
    wire_write_u32(w, m->spawn_ok.uid);
}

static void read_id(struct wire_reader *r, struct privctl_message *m)
{
    m->vm = read_vm(r);
}

static void write_id(struct wire_writer *w, const struct privctl_message *m)
{
    field_write_id(w, &m->vm);
}

static void read_entry(struct wire_reader *r, struct privctl_message *m)
{
    m->entry.vm = read_vm(r);
    field_read_name_cstr(r, m->entry.tenant);
    field_read_name_cstr(r, m->entry.name);
    m->entry.pid = field_read_u32_in(r, 1, INT32_MAX, "no process id");
    m->entry.uid = wire_read_u32(r);
    m->entry.exited = field_read_u8_in(r, 0, 1, "exited is neither 0 nor 1");
    m->entry.wait_status = (int32_t)wire_read_u32(r);
}

static void write_entry(struct wire_writer *w, const struct privctl_message *m)
{
    field_write_id(w, &m->entry.vm);
    wire_write_cstr(w, m->entry.tenant);
    wire_write_cstr(w, m->entry.name);
    wire_write_u32(w, m->entry.pid);
    wire_write_u32(w, m->entry.uid);
    wire_write_u8(w, m->entry.exited);
    wire_write_u32(w, (uint32_t)m->entry.wait_status);
}

static void read_exited(struct wire_reader *r, struct privctl_message *m)
{
    m->entry.vm = read_vm(r);
    m->entry.tenant[0] = '\0';
    m->entry.name[0] = '\0';
    m->entry.pid = 0;
    m->entry.uid = 0;
    m->entry.exited = true;
    m->entry.wait_status = (int32_t)wire_read_u32(r);
}

static void write_exited(struct wire_writer *w, const struct privctl_message *m)
{
    field_write_id(w, &m->entry.vm);
    wire_write_u32(w, (uint32_t)m->entry.wait_status);
}

static void read_empty(struct wire_reader *r, struct privctl_message *m)
{
    (void)r;
    (void)m;
}

static void write_empty(struct wire_writer *w, const struct privctl_message *m)
{
    (void)w;
    (void)m;
}

static void read_fail(struct wire_reader *r, struct privctl_message *m)
{
    m->fail.error = field_read_u32_in(r, 1, ERRNO_MAX, "no errno");
    m->fail.text = wire_read_str(r, PRIVCTL_TEXT_MAX);
}

static void write_fail(struct wire_writer *w, const struct privctl_message *m)
{
    wire_write_u32(w, m->fail.error);
    field_write_view(w, m->fail.text);
}

static const struct message_codec {
    const char *name;
    size_t fds_min, fds_max;
    void (*read)(struct wire_reader *r, struct privctl_message *m);
    void (*write)(struct wire_writer *w, const struct privctl_message *m);
} codecs[PRIVCTL_TYPE_COUNT] = {
    [PRIVCTL_HELLO] = {"HELLO", 0, 0, read_hello, write_hello},
    [PRIVCTL_HELLO_OK] = {"HELLO_OK", 0, 0, read_hello_ok, write_hello_ok},
    [PRIVCTL_NET_UP] = {"NET_UP", 0, 0, read_net_up, write_net_up},
    [PRIVCTL_NET_DOWN] = {"NET_DOWN", 0, 0, read_net_down, write_net_down},
    [PRIVCTL_SPAWN] = {"SPAWN", 2, PRIVCTL_FDS_MAX, read_spawn, write_spawn},
    [PRIVCTL_SPAWN_OK] = {"SPAWN_OK", 1, 1, read_spawn_ok, write_spawn_ok},
    [PRIVCTL_KILL] = {"KILL", 0, 0, read_id, write_id},
    [PRIVCTL_FORGET] = {"FORGET", 0, 0, read_id, write_id},
    [PRIVCTL_LIST] = {"LIST", 0, 0, read_empty, write_empty},
    [PRIVCTL_LIST_ENTRY] = {"LIST_ENTRY", 0, 1, read_entry, write_entry},
    [PRIVCTL_EXITED] = {"EXITED", 0, 0, read_exited, write_exited},
    [PRIVCTL_OK] = {"OK", 0, 0, read_empty, write_empty},
    [PRIVCTL_FAIL] = {"FAIL", 0, 0, read_fail, write_fail},
};

static bool type_known(uint32_t type)
{
    return type > 0 && type < PRIVCTL_TYPE_COUNT;
}

void privctl_fds_allowed(enum privctl_type type, size_t *ret_min, size_t *ret_max)
{
    *ret_min = type_known(type) ? codecs[type].fds_min : 0;
    *ret_max = type_known(type) ? codecs[type].fds_max : 0;
}

bool privctl_read(const void *datagram, size_t len, struct privctl_message *ret, struct wire_error *ret_error)
{
    struct wire_reader r;
    wire_reader_init(&r, datagram, len);
    if (len > PRIVCTL_DATAGRAM_MAX)
        wire_reader_fail(&r, "datagram too long");
    ret->type = (enum privctl_type)field_read_u16_in(&r, 1, PRIVCTL_TYPE_COUNT - 1, "unknown message type");
    field_read_u16_in(&r, 0, 0, "reserved bytes are not zero");
    ret->tag = wire_read_u32(&r);
    if (wire_reader_ok(&r))
        codecs[ret->type].read(&r, ret);
    if (wire_reader_end(&r))
        return true;
    *ret_error = r.error;
    return false;
}

void privctl_write(struct wire_writer *w, const struct privctl_message *m)
{
    wire_write_u16(w, (uint16_t)m->type);
    wire_write_u16(w, 0);
    wire_write_u32(w, m->tag);
    codecs[m->type].write(w, m);
}

const char *privctl_type_name(enum privctl_type type)
{
    return type_known(type) ? codecs[type].name : "unknown";
}
