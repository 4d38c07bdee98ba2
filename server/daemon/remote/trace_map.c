// Answers as bytes and back, and the merge. All bytes are the wire's until trace_read() has checked them.
#include "remote/trace_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION   1
#define NS_PER_US 1000u

// --- this host's ---

static void add_stage(void *arg, const struct trace_view *v)
{
    struct remote_trace_host *h = arg;
    if (h->n_stages == TRACE_ANSWER_STAGES) {
        h->more = true;
        return;
    }
    struct remote_trace_stage *s = &h->stages[h->n_stages++];
    s->stage = v->stage;
    s->code = v->code;
    s->ago_ns = v->ago_ns;
    snprintf(s->tenant, sizeof s->tenant, "%s", v->tenant ? v->tenant : "");
    snprintf(s->name, sizeof s->name, "%s", v->tenant ? v->name : "");
}

int trace_collect(const struct router *router, const struct id *id, uint64_t realtime_us,
                  struct remote_trace_host *h)
{
    h->stages = calloc(TRACE_ANSWER_STAGES, sizeof *h->stages);
    if (!h->stages)
        return -ENOMEM;
    h->n_stages = 0;
    h->more = false;
    h->now_us = realtime_us;
    router_trace(router, id, add_stage, h);
    return 0;
}

// --- bytes ---

size_t trace_write(const struct remote_trace_host *h, uint8_t out[TRACE_ANSWER_CAP])
{
    struct wire_writer w;
    wire_writer_init(&w, out, TRACE_ANSWER_CAP);
    wire_write_u8(&w, VERSION);
    wire_write_u64(&w, h->now_us);
    wire_write_u8(&w, h->more);
    wire_write_u16(&w, (uint16_t)h->n_stages);
    for (size_t i = 0; i < h->n_stages; i++) {
        const struct remote_trace_stage *s = &h->stages[i];
        wire_write_u8(&w, (uint8_t)s->stage);
        wire_write_u8(&w, (uint8_t)s->code);
        wire_write_u64(&w, s->ago_ns);
        wire_write_cstr(&w, s->tenant);
        wire_write_cstr(&w, s->name);
    }
    return w.pos;
}

static void read_names(struct wire_reader *r, struct remote_trace_stage *ret)
{
    struct wire_view tenant = wire_read_str(r, NAME_CAP - 1), name = wire_read_str(r, NAME_CAP - 1);
    bool none = tenant.len == 0 && name.len == 0;
    if (!none && wire_reader_ok(r) &&
        (!name_valid((const char *)tenant.data, tenant.len) ||
         !name_valid((const char *)name.data, name.len)))
        wire_reader_fail(r, "no environment has that name");
    wire_view_to_cstr(tenant, ret->tenant, sizeof ret->tenant);
    wire_view_to_cstr(name, ret->name, sizeof ret->name);
}

static void read_stage(struct wire_reader *r, uint64_t now_us, uint64_t before_ns,
                       struct remote_trace_stage *ret)
{
    uint8_t stage = wire_read_u8(r), code = wire_read_u8(r);
    ret->ago_ns = wire_read_u64(r);
    if (stage >= TRACE_STAGES || code >= RECEIPT_CODE_COUNT)
        wire_reader_fail(r, "an unknown stage or code");
    else if (ret->ago_ns > before_ns || ret->ago_ns / NS_PER_US > now_us)
        wire_reader_fail(r, "stages that are out of order, or from before 1970");
    ret->stage = (enum trace_stage)stage;
    ret->code = (enum receipt_code)code;
    read_names(r, ret);
}

static bool read_stages(struct wire_reader *r, struct remote_trace_host *h)
{
    uint64_t before_ns = UINT64_MAX;
    for (size_t i = 0; i < h->n_stages && wire_reader_ok(r); i++) {
        read_stage(r, h->now_us, before_ns, &h->stages[i]);
        before_ns = h->stages[i].ago_ns;
    }
    return wire_reader_end(r);
}

bool trace_read(const void *untrusted, size_t len, struct remote_trace_host *ret)
{
    struct wire_reader r;
    struct remote_trace_host h = *ret;
    wire_reader_init(&r, untrusted, len);
    uint8_t version = wire_read_u8(&r);
    h.now_us = wire_read_u64(&r);
    h.more = wire_read_u8(&r) != 0;
    h.n_stages = wire_read_u16(&r);
    // A clock of the year 100,000 and later is none, and sums with it could overflow.
    if (!wire_reader_ok(&r) || version != VERSION || h.n_stages > TRACE_ANSWER_STAGES ||
        h.now_us > INT64_MAX / 4)
        return false;
    h.stages = calloc(h.n_stages + 1, sizeof *h.stages);
    if (!h.stages || !read_stages(&r, &h)) {
        free(h.stages);
        return false;
    }
    *ret = h;
    return true;
}

// --- clocks ---

void trace_compare_clocks(struct remote_trace_host *h, uint64_t asked_us, uint64_t got_us)
{
    // By how much theirs is ahead lies between these two, if ours was not set meanwhile.
    int64_t least = (int64_t)h->now_us - (int64_t)got_us, most = (int64_t)h->now_us - (int64_t)asked_us;
    if (most < least)
        most = least;
    h->ahead_us = least + (most - least) / 2;
    h->error_us = (uint64_t)(most - least + 1) / 2;
}

// When it was by our clock.
static int64_t ours_us(const struct remote_trace_host *h, size_t stage)
{
    return (int64_t)(h->now_us - h->stages[stage].ago_ns / NS_PER_US) - h->ahead_us;
}

// --- one story ---

struct merge {
    const struct remote_trace_host *hosts;
    size_t n_hosts;
    size_t *at; // by host: the next stage
    size_t sends_left;
    bool sent;
};

static bool may_come(const struct merge *m, size_t host)
{
    const struct remote_trace_host *h = &m->hosts[host];
    return m->at[host] < h->n_stages &&
           (m->sent || m->sends_left == 0 || h->stages[m->at[host]].stage != TRACE_ARRIVED);
}

// n_hosts: none is left.
static size_t earliest(const struct merge *m, bool any)
{
    size_t best = m->n_hosts;
    for (size_t i = 0; i < m->n_hosts; i++) {
        if (m->at[i] >= m->hosts[i].n_stages || (!any && !may_come(m, i)))
            continue;
        if (best == m->n_hosts || ours_us(&m->hosts[i], m->at[i]) < ours_us(&m->hosts[best], m->at[best]))
            best = i;
    }
    return best;
}

static void tell_time(const struct remote_trace_host *hosts, const struct remote_trace_line *before,
                      struct remote_trace_line *line)
{
    const struct remote_trace_host *a = &hosts[before->host], *b = &hosts[line->host];
    line->across = a != b;
    if (!line->across) {
        line->known = true;
        line->after_us = (a->stages[before->stage].ago_ns - b->stages[line->stage].ago_ns) / NS_PER_US;
        return;
    }
    int64_t d = ours_us(b, line->stage) - ours_us(a, before->stage);
    line->error_us = a->error_us + b->error_us;
    line->known = d + (int64_t)line->error_us >= 0; // else a clock was set, and nothing can be said
    line->after_us = d > 0 ? (uint64_t)d : 0;
}

static void take(struct merge *m, size_t host, struct remote_trace_line *line)
{
    *line = (struct remote_trace_line){.host = host, .stage = m->at[host]++};
    bool sent = m->hosts[host].stages[line->stage].stage == TRACE_SENT;
    m->sent = m->sent || sent;
    m->sends_left -= sent;
}

size_t trace_merge(const struct remote_trace_host *hosts, size_t n_hosts, struct remote_trace_line *lines)
{
    struct merge m = {.hosts = hosts, .n_hosts = n_hosts, .at = calloc(n_hosts + 1, sizeof *m.at)};
    size_t n = 0;
    if (!m.at)
        return 0;
    for (size_t i = 0; i < n_hosts; i++)
        for (size_t k = 0; k < hosts[i].n_stages; k++)
            m.sends_left += hosts[i].stages[k].stage == TRACE_SENT;
    for (;;) {
        size_t host = earliest(&m, false);
        if (host == n_hosts)
            host = earliest(&m, true);
        if (host == n_hosts)
            break;
        take(&m, host, &lines[n]);
        if (n > 0)
            tell_time(hosts, &lines[n - 1], &lines[n]);
        n++;
    }
    free(m.at);
    return n;
}
