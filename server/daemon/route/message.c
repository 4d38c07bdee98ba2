// Messages: one allocation each, counted references, encoded once.
#include "route/message.h"

#include <stdlib.h>

struct message *message_new(const struct envelope *e, uint64_t dedup_key)
{
    size_t len = envelope_size(e);
    struct message *m = malloc(sizeof *m + len);
    if (!m)
        return NULL;
    *m = (struct message){
        .n_refs = 1,
        .kind = e->kind,
        .priority = e->priority,
        .id = e->id,
        .correlation = e->correlation,
        .expires_ms = e->expires_ms,
        .dedup_key = dedup_key,
        .len = len,
    };
    struct wire_writer w;
    wire_writer_init(&w, m->bytes, len);
    envelope_write(&w, e);
    if (!w.overflow)
        return m;
    free(m); // a string over 65,535 bytes, which validation keeps away
    return NULL;
}

struct message *message_ref(struct message *m)
{
    m->n_refs++;
    return m;
}

void message_unref(struct message *m)
{
    if (m && --m->n_refs == 0)
        free(m);
}

bool message_envelope(const struct message *m, struct envelope *ret)
{
    struct wire_reader r;
    wire_reader_init(&r, m->bytes, m->len);
    return envelope_read(&r, ret);
}
