// The ring of stages. Adding is a copy into the next place; finding walks the whole ring, for one operator
// now and then.
#include "route/trace.h"

#include <errno.h>
#include <stdlib.h>

#include "route/router_internal.h"

#define NS_PER_MS 1000000ull

int trace_init(struct trace *t, uint64_t (*monotonic_ns)(void *arg), void *arg)
{
    *t = (struct trace){
        .records = calloc(TRACE_RECORDS, sizeof *t->records), .monotonic_ns = monotonic_ns, .arg = arg};
    return t->records ? 0 : -ENOMEM;
}

void trace_done(struct trace *t)
{
    free(t->records);
    t->records = NULL;
}

void trace_add_at(struct trace *t, const struct trace_record *record)
{
    t->records[t->n++ % TRACE_RECORDS] = *record;
}

void trace_add(struct trace *t, const struct id *id, enum trace_stage stage, uint64_t place)
{
    trace_add_at(t,
                 &(struct trace_record){
                     .id = *id, .at_ns = t->monotonic_ns(t->arg), .place = place, .stage = (uint8_t)stage});
}

const char *trace_stage_name(enum trace_stage stage)
{
    static const char *const names[TRACE_STAGES] = {
        [TRACE_SUBMITTED] = "submitted", [TRACE_ARRIVED] = "arrived",     [TRACE_ALLOWED] = "allowed",
        [TRACE_SENT] = "sent",           [TRACE_CONFIRMED] = "confirmed", [TRACE_STORED] = "stored",
        [TRACE_ACCEPTED] = "accepted",   [TRACE_DUPLICATE] = "duplicate", [TRACE_REFUSED] = "refused",
        [TRACE_DELIVERED] = "delivered", [TRACE_ACKED] = "acknowledged",  [TRACE_RELEASED] = "released",
        [TRACE_EXPIRED] = "expired",     [TRACE_DEAD] = "dead",           [TRACE_REPLAYED] = "replayed",
        [TRACE_PURGED] = "purged",
    };
    return stage < TRACE_STAGES ? names[stage] : "unknown";
}

static const struct environment *find_place(const struct router *r, uint64_t serial)
{
    const struct environment *e;
    LIST_FOREACH(e, &r->directory.all, link)
    {
        if (e->serial == serial)
            return e;
    }
    return NULL;
}

size_t router_trace(const struct router *r, const struct id *id,
                    void (*cb)(void *arg, const struct trace_view *stage), void *arg)
{
    const struct trace *t = &r->trace;
    uint64_t now_ns = t->monotonic_ns(t->arg), now_ms = r->ops->realtime_ms(r->ops_arg), last_ns = 0;
    size_t n = 0;
    for (uint64_t i = t->n > TRACE_RECORDS ? t->n - TRACE_RECORDS : 0; i < t->n; i++) {
        const struct trace_record *record = &t->records[i % TRACE_RECORDS];
        if (!id_equals(&record->id, id))
            continue;
        const struct environment *e = record->place ? find_place(r, record->place) : NULL;
        const struct trace_view view = {
            .stage = (enum trace_stage)record->stage,
            .code = (enum receipt_code)record->code,
            .ago_ns = now_ns - record->at_ns,
            .at_ms = now_ms - (now_ns - record->at_ns) / NS_PER_MS,
            .after_ns = n > 0 ? record->at_ns - last_ns : 0,
            .tenant = e ? e->tenant : NULL,
            .name = e ? e->name : NULL,
        };
        cb(arg, &view);
        last_ns = record->at_ns;
        n++;
    }
    return n;
}
