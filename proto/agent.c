// The frames of the agent protocol (agent.h): one row per type in each table. Called by both ends of every
// agent link. Knows the payloads, not the order in which frames may come: that is agent/core's and the
// session's.
#include "proto/agent.h"

#include "fields.h"

#define STR_LEN(max)      (2u + (max))
#define ENVELOPE_SIZE_MIN 59u // every field empty but `to`

// The shortest and longest payload of each type, so that a header alone tells how much is worth buffering.
static const struct payload_size {
    uint32_t min, max;
} sizes[AGENT_FRAME_TYPE_COUNT] = {
    [AGENT_HELLO] = {10, 8 + STR_LEN(AGENT_SOFTWARE_MAX)},
    [AGENT_HELLO_OK] = {24, 18 + 2 * STR_LEN(NAME_MAX_LEN)},
    [AGENT_REJECT] = {2, STR_LEN(AGENT_DETAIL_MAX)},
    [AGENT_SEND] = {ENVELOPE_SIZE_MIN, AGENT_FRAME_MAX},
    [AGENT_RECEIPT] = {19, 1 + ID_LEN + STR_LEN(AGENT_DETAIL_MAX)},
    [AGENT_DELIVER] = {ENVELOPE_SIZE_MIN, AGENT_FRAME_MAX},
    [AGENT_ACK] = {ID_LEN, ID_LEN},
    [AGENT_RELEASE] = {ID_LEN, ID_LEN},
    [AGENT_CREDIT] = {4, 4},
    [AGENT_REGISTER] = {3, STR_LEN(NAME_MAX_LEN)},
    [AGENT_UNREGISTER] = {3, STR_LEN(NAME_MAX_LEN)},
    [AGENT_RESULT] = {3, 1 + STR_LEN(AGENT_DETAIL_MAX)},
    [AGENT_CLOCK] = {0, 0},
    [AGENT_CLOCK_IS] = {8, 8},
    [AGENT_SHUTDOWN] = {6, 4 + STR_LEN(AGENT_DETAIL_MAX)},
    [AGENT_PING] = {0, 0},
    [AGENT_PONG] = {0, 0},
    [AGENT_CONFIGURE] = {20, 17 + STR_LEN(NAME_MAX_LEN)},
    [AGENT_OPEN] = {ID_LEN + 1, ID_LEN + 1},
    [AGENT_ATTACH] = {ID_LEN, ID_LEN},
    [AGENT_STATS] = {0, 0},
    [AGENT_STATS_IS] = {56, 56},
    [AGENT_RESUMED] = {8, 8},
    [AGENT_MONITOR] = {3, STR_LEN(ADDRESS_CAP - 1)},
    [AGENT_UNMONITOR] = {3, STR_LEN(ADDRESS_CAP - 1)},
    [AGENT_GONE] = {6, STR_LEN(ADDRESS_CAP - 1) + 1 + STR_LEN(AGENT_REASON_MAX)},
    [AGENT_DEFER] = {ID_LEN + 5, ID_LEN + 5},
};

static bool type_known(uint32_t type)
{
    return type > 0 && type < AGENT_FRAME_TYPE_COUNT;
}

const char *agent_header_read(const uint8_t raw[AGENT_HEADER_LEN], struct agent_header *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, raw, AGENT_HEADER_LEN);
    uint32_t len_bytes = wire_read_u32(&r);
    uint16_t type = wire_read_u16(&r), zero = wire_read_u16(&r);
    uint32_t tag = wire_read_u32(&r);
    if (!type_known(type))
        return "unknown frame type";
    if (zero != 0)
        return "reserved header bytes are not zero";
    if (len_bytes > sizes[type].max)
        return "frame too long for its type";
    if (len_bytes < sizes[type].min)
        return "frame too short for its type";
    *ret = (struct agent_header){.len_bytes = len_bytes, .type = (enum agent_frame_type)type, .tag = tag};
    return NULL;
}

static void read_hello(struct wire_reader *r, struct agent_frame *f)
{
    f->hello.version_min = wire_read_u16(r);
    f->hello.version_max = field_read_u16_in(r, f->hello.version_min, UINT16_MAX, "version range is empty");
    f->hello.capabilities = wire_read_u32(r);
    f->hello.software = wire_read_str(r, AGENT_SOFTWARE_MAX);
}

static void write_hello(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u16(w, f->hello.version_min);
    wire_write_u16(w, f->hello.version_max);
    wire_write_u32(w, f->hello.capabilities);
    field_write_view(w, f->hello.software);
}

static void read_hello_ok(struct wire_reader *r, struct agent_frame *f)
{
    f->hello_ok.version = wire_read_u16(r);
    f->hello_ok.capabilities = wire_read_u32(r);
    f->hello_ok.tenant = field_read_name(r);
    f->hello_ok.name = field_read_name(r);
    f->hello_ok.body_max = field_read_u32_in(r, 1, ENVELOPE_BODY_MAX, "body limit out of range");
    f->hello_ok.realtime_ns = wire_read_u64(r);
}

static void write_hello_ok(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u16(w, f->hello_ok.version);
    wire_write_u32(w, f->hello_ok.capabilities);
    field_write_view(w, f->hello_ok.tenant);
    field_write_view(w, f->hello_ok.name);
    wire_write_u32(w, f->hello_ok.body_max);
    wire_write_u64(w, f->hello_ok.realtime_ns);
}

static void read_reject(struct wire_reader *r, struct agent_frame *f)
{
    f->reject.reason = wire_read_str(r, AGENT_DETAIL_MAX);
}

static void write_reject(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_view(w, f->reject.reason);
}

static void read_envelope(struct wire_reader *r, struct agent_frame *f)
{
    envelope_read(r, &f->envelope);
}

static void write_envelope(struct wire_writer *w, const struct agent_frame *f)
{
    envelope_write(w, &f->envelope);
}

static enum receipt_code read_code(struct wire_reader *r)
{
    return field_read_u8_in(r, 0, RECEIPT_CODE_COUNT - 1, "unknown receipt code");
}

static void read_receipt(struct wire_reader *r, struct agent_frame *f)
{
    f->receipt.code = read_code(r);
    f->receipt.id = field_read_id(r);
    f->receipt.detail = wire_read_str(r, AGENT_DETAIL_MAX);
}

static void write_receipt(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u8(w, (uint8_t)f->receipt.code);
    field_write_id(w, &f->receipt.id);
    field_write_view(w, f->receipt.detail);
}

static void read_result(struct wire_reader *r, struct agent_frame *f)
{
    f->receipt.code = read_code(r);
    f->receipt.id = (struct id){0};
    f->receipt.detail = wire_read_str(r, AGENT_DETAIL_MAX);
}

static void write_result(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u8(w, (uint8_t)f->receipt.code);
    field_write_view(w, f->receipt.detail);
}

static void read_id(struct wire_reader *r, struct agent_frame *f)
{
    f->id = field_read_id(r);
}

static void write_id(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_id(w, &f->id);
}

static void read_credit(struct wire_reader *r, struct agent_frame *f)
{
    f->credit = field_read_u32_in(r, 0, AGENT_CREDIT_MAX, "credit out of range");
}

static void write_credit(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u32(w, f->credit);
}

static void read_service(struct wire_reader *r, struct agent_frame *f)
{
    f->service = field_read_name(r);
}

static void write_service(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_view(w, f->service);
}

static void read_empty(struct wire_reader *r, struct agent_frame *f)
{
    (void)r;
    (void)f;
}

static void write_empty(struct wire_writer *w, const struct agent_frame *f)
{
    (void)w;
    (void)f;
}

static void read_clock_is(struct wire_reader *r, struct agent_frame *f)
{
    f->realtime_ns = wire_read_u64(r);
}

static void write_clock_is(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u64(w, f->realtime_ns);
}

static void read_shutdown(struct wire_reader *r, struct agent_frame *f)
{
    f->shutdown.grace_ms = wire_read_u32(r);
    f->shutdown.reason = wire_read_str(r, AGENT_DETAIL_MAX);
}

static void write_shutdown(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u32(w, f->shutdown.grace_ms);
    field_write_view(w, f->shutdown.reason);
}

static void read_configure(struct wire_reader *r, struct agent_frame *f)
{
    f->configure.hostname = field_read_name(r);
    f->configure.ipv4 = wire_read_u32(r);
    f->configure.prefix = field_read_u8_in(r, 0, 32, "prefix above 32");
    f->configure.gateway = wire_read_u32(r);
    f->configure.mtu = wire_read_u16(r);
    field_read_mac(r, f->configure.mac);
}

static void write_configure(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_view(w, f->configure.hostname);
    wire_write_u32(w, f->configure.ipv4);
    wire_write_u8(w, f->configure.prefix);
    wire_write_u32(w, f->configure.gateway);
    wire_write_u16(w, f->configure.mtu);
    wire_write_raw(w, f->configure.mac, sizeof f->configure.mac);
}

static void read_open(struct wire_reader *r, struct agent_frame *f)
{
    f->session.token = field_read_id(r);
    f->session.kind = field_read_u8_in(r, 0, AGENT_SESSION_KIND_COUNT - 1, "unknown kind of session");
}

static void write_open(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_id(w, &f->session.token);
    wire_write_u8(w, (uint8_t)f->session.kind);
}

static void read_attach(struct wire_reader *r, struct agent_frame *f)
{
    f->session.token = field_read_id(r);
    f->session.kind = AGENT_SESSION_EXEC;
}

static void write_attach(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_id(w, &f->session.token);
}

static void read_stats(struct wire_reader *r, struct agent_frame *f)
{
    f->stats.mem_total = wire_read_u64(r);
    f->stats.mem_available = wire_read_u64(r);
    f->stats.swap_used = wire_read_u64(r);
    f->stats.disk_total = wire_read_u64(r);
    f->stats.disk_free = wire_read_u64(r);
    f->stats.load1_milli = wire_read_u32(r);
    f->stats.processes = wire_read_u32(r);
    f->stats.uptime_ns = wire_read_u64(r);
}

static void write_stats(struct wire_writer *w, const struct agent_frame *f)
{
    wire_write_u64(w, f->stats.mem_total);
    wire_write_u64(w, f->stats.mem_available);
    wire_write_u64(w, f->stats.swap_used);
    wire_write_u64(w, f->stats.disk_total);
    wire_write_u64(w, f->stats.disk_free);
    wire_write_u32(w, f->stats.load1_milli);
    wire_write_u32(w, f->stats.processes);
    wire_write_u64(w, f->stats.uptime_ns);
}

static struct wire_view read_environment(struct wire_reader *r)
{
    size_t start = r->pos;
    struct wire_view v = field_read_address(r, false);
    struct address address;
    if (wire_reader_ok(r) && !address_parse((const char *)v.data, v.len, &address) && address.is_service)
        wire_reader_fail_at(r, start, "not the address of an environment");
    return v;
}

static void read_address(struct wire_reader *r, struct agent_frame *f)
{
    f->address = read_environment(r);
}

static void write_address(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_view(w, f->address);
}

static void read_gone(struct wire_reader *r, struct agent_frame *f)
{
    f->gone.address = read_environment(r);
    f->gone.certainty = field_read_u8_in(r, 0, AGENT_CERTAINTY_COUNT - 1, "unknown certainty");
    f->gone.reason = wire_read_str(r, AGENT_REASON_MAX);
}

static void write_gone(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_view(w, f->gone.address);
    wire_write_u8(w, (uint8_t)f->gone.certainty);
    field_write_view(w, f->gone.reason);
}

static void read_defer(struct wire_reader *r, struct agent_frame *f)
{
    f->defer.id = field_read_id(r);
    f->defer.delay_ms = field_read_u32_in(r, 0, AGENT_DEFER_MAX_MS, "delay out of range");
    f->defer.tried = field_read_u8_in(r, 0, 1, "neither tried nor not");
}

static void write_defer(struct wire_writer *w, const struct agent_frame *f)
{
    field_write_id(w, &f->defer.id);
    wire_write_u32(w, f->defer.delay_ms);
    wire_write_u8(w, f->defer.tried);
}

static const struct frame_codec {
    const char *name;
    void (*read)(struct wire_reader *r, struct agent_frame *f);
    void (*write)(struct wire_writer *w, const struct agent_frame *f);
} codecs[AGENT_FRAME_TYPE_COUNT] = {
    [AGENT_HELLO] = {"HELLO", read_hello, write_hello},
    [AGENT_HELLO_OK] = {"HELLO_OK", read_hello_ok, write_hello_ok},
    [AGENT_REJECT] = {"REJECT", read_reject, write_reject},
    [AGENT_SEND] = {"SEND", read_envelope, write_envelope},
    [AGENT_RECEIPT] = {"RECEIPT", read_receipt, write_receipt},
    [AGENT_DELIVER] = {"DELIVER", read_envelope, write_envelope},
    [AGENT_ACK] = {"ACK", read_id, write_id},
    [AGENT_RELEASE] = {"RELEASE", read_id, write_id},
    [AGENT_CREDIT] = {"CREDIT", read_credit, write_credit},
    [AGENT_REGISTER] = {"REGISTER", read_service, write_service},
    [AGENT_UNREGISTER] = {"UNREGISTER", read_service, write_service},
    [AGENT_RESULT] = {"RESULT", read_result, write_result},
    [AGENT_CLOCK] = {"CLOCK", read_empty, write_empty},
    [AGENT_CLOCK_IS] = {"CLOCK_IS", read_clock_is, write_clock_is},
    [AGENT_SHUTDOWN] = {"SHUTDOWN", read_shutdown, write_shutdown},
    [AGENT_PING] = {"PING", read_empty, write_empty},
    [AGENT_PONG] = {"PONG", read_empty, write_empty},
    [AGENT_CONFIGURE] = {"CONFIGURE", read_configure, write_configure},
    [AGENT_OPEN] = {"OPEN", read_open, write_open},
    [AGENT_ATTACH] = {"ATTACH", read_attach, write_attach},
    [AGENT_STATS] = {"STATS", read_empty, write_empty},
    [AGENT_STATS_IS] = {"STATS_IS", read_stats, write_stats},
    [AGENT_RESUMED] = {"RESUMED", read_clock_is, write_clock_is},
    [AGENT_MONITOR] = {"MONITOR", read_address, write_address},
    [AGENT_UNMONITOR] = {"UNMONITOR", read_address, write_address},
    [AGENT_GONE] = {"GONE", read_gone, write_gone},
    [AGENT_DEFER] = {"DEFER", read_defer, write_defer},
};

bool agent_frame_read(const struct agent_header *h, const void *payload, struct agent_frame *ret,
                      struct wire_error *ret_error)
{
    struct wire_reader r;
    wire_reader_init(&r, payload, h->len_bytes);
    ret->type = h->type;
    ret->tag = h->tag;
    if (type_known(h->type))
        codecs[h->type].read(&r, ret);
    else
        wire_reader_fail(&r, "unknown frame type");
    if (wire_reader_end(&r))
        return true;
    *ret_error = r.error;
    return false;
}

void agent_frame_write(struct wire_writer *w, const struct agent_frame *f)
{
    struct wire_writer measure;
    wire_writer_init(&measure, NULL, 0);
    codecs[f->type].write(&measure, f);
    wire_write_u32(w, (uint32_t)measure.pos);
    wire_write_u16(w, (uint16_t)f->type);
    wire_write_u16(w, 0);
    wire_write_u32(w, f->tag);
    codecs[f->type].write(w, f);
}

size_t agent_frame_size(const struct agent_frame *f)
{
    struct wire_writer w;
    wire_writer_init(&w, NULL, 0);
    codecs[f->type].write(&w, f);
    return AGENT_HEADER_LEN + w.pos;
}

const char *agent_frame_type_name(enum agent_frame_type type)
{
    return type_known(type) ? codecs[type].name : "unknown";
}
