// Frames being put together and frames waiting to be written (queue.h). Called by link.c and client.c.
#include "queue.h"

#include <string.h>

#define CHUNK_MIN 1024u // short frames share a chunk, and so a write

void *memory_get(struct memory *m, size_t size)
{
    void *p = m->ops->allocate(m->ctx, size);
    if (!p)
        m->starved = true;
    return p;
}

void memory_put(struct memory *m, void *p)
{
    if (!p)
        return;
    m->ops->deallocate(m->ctx, p);
    m->starved = false;
}

static struct chunk *chunk_new(struct memory *m, size_t cap)
{
    struct chunk *c = memory_get(m, sizeof *c + cap);
    if (c) {
        c->next = NULL;
        c->len = 0;
        c->cap = cap;
        c->n_refs = 1;
    }
    return c;
}

void chunk_put(struct memory *m, struct chunk *c)
{
    if (c && --c->n_refs == 0)
        memory_put(m, c);
}

static size_t frame_len(const struct frame_in *in)
{
    return AGENT_HEADER_LEN + (size_t)in->header.len_bytes;
}

// Bytes that are missing until the header, then the frame, is complete.
static size_t missing(const struct frame_in *in)
{
    return in->have < AGENT_HEADER_LEN ? AGENT_HEADER_LEN - in->have : frame_len(in) - in->have;
}

bool frame_in_wants(const struct memory *m, const struct frame_in *in, bool may_finish)
{
    bool needs_memory = in->have >= AGENT_HEADER_LEN && !in->big && frame_len(in) > SMALL_FRAME_MAX;
    return !(needs_memory && m->starved) && (may_finish || missing(in) > 1);
}

uint8_t *frame_in_data(struct frame_in *in)
{
    return in->big ? in->big->data : in->small;
}

// A long frame gets its memory, all of it, when its first byte after the header comes.
static bool make_room(struct memory *m, struct frame_in *in)
{
    if (in->big || frame_len(in) <= SMALL_FRAME_MAX)
        return true;
    in->big = chunk_new(m, frame_len(in));
    if (!in->big)
        return false;
    in->big->len = frame_len(in);
    memcpy(in->big->data, in->small, AGENT_HEADER_LEN);
    return true;
}

enum intake frame_in_take(struct memory *m, struct frame_in *in, bool may_finish,
                          const uint8_t *untrusted_data, size_t n, size_t *ret_taken, const char **ret_what)
{
    size_t wanted = missing(in);
    size_t take = n < wanted ? n : wanted;
    bool in_header = in->have < AGENT_HEADER_LEN;
    *ret_taken = 0;
    if (!may_finish && take == wanted && take > 0)
        take--;
    if (take == 0 && wanted > 0)
        return n == 0 ? INTAKE_MORE : INTAKE_WAIT;
    if (!in_header && !make_room(m, in))
        return INTAKE_WAIT;
    if (take > 0)
        memcpy(frame_in_data(in) + in->have, untrusted_data, take);
    in->have += take;
    *ret_taken = take;
    if (take < wanted)
        return INTAKE_MORE;
    if (!in_header)
        return INTAKE_FRAME;
    *ret_what = agent_header_read(in->small, &in->header);
    return *ret_what ? INTAKE_BAD : INTAKE_HEADER;
}

void frame_in_set_tag(struct frame_in *in, uint32_t tag)
{
    struct wire_writer w;
    wire_writer_init(&w, frame_in_data(in) + 8, 4);
    wire_write_u32(&w, tag);
}

struct chunk *frame_in_detach(struct memory *m, struct frame_in *in)
{
    struct chunk *c = in->big ? in->big : chunk_new(m, in->have);
    if (c && !in->big) {
        memcpy(c->data, in->small, in->have);
        c->len = in->have;
    }
    in->big = NULL;
    return c;
}

struct chunk *frame_in_share(struct memory *m, struct frame_in *in)
{
    struct chunk *big = in->big;
    if (!big)
        return frame_in_detach(m, in);
    big->n_refs++;
    return big;
}

void frame_in_reset(struct memory *m, struct frame_in *in)
{
    chunk_put(m, in->big);
    in->big = NULL;
    in->have = 0;
}

static void chunk_link(struct out_queue *q, struct chunk *c)
{
    if (q->tail)
        q->tail->next = c;
    else
        q->head = c;
    q->tail = c;
}

static bool out_fits(const struct out_queue *q, size_t n)
{
    return n <= q->bytes_max && q->bytes <= q->bytes_max - n;
}

// Room for n more bytes at the tail, NULL when there is none to be had.
static uint8_t *out_reserve(struct memory *m, struct out_queue *q, size_t n)
{
    if (!out_fits(q, n))
        return NULL;
    if (!q->tail || q->tail->cap - q->tail->len < n) {
        struct chunk *c = chunk_new(m, n > CHUNK_MIN ? n : CHUNK_MIN);
        if (!c)
            return NULL;
        chunk_link(q, c);
    }
    uint8_t *room = q->tail->data + q->tail->len;
    q->tail->len += n;
    q->bytes += n;
    return room;
}

bool out_push(struct memory *m, struct out_queue *q, const struct agent_frame *f)
{
    size_t n = agent_frame_size(f);
    uint8_t *room = out_reserve(m, q, n);
    if (!room)
        return false;
    struct wire_writer w;
    wire_writer_init(&w, room, n);
    agent_frame_write(&w, f);
    return true;
}

bool out_forward(struct memory *m, struct out_queue *q, struct frame_in *in)
{
    if (!in->big) {
        uint8_t *room = out_reserve(m, q, in->have);
        if (room)
            memcpy(room, in->small, in->have);
        return room;
    }
    if (!out_push_chunk(q, in->big))
        return false;
    in->big = NULL;
    return true;
}

bool out_push_chunk(struct out_queue *q, struct chunk *c)
{
    if (!out_fits(q, c->len))
        return false;
    c->next = NULL;
    chunk_link(q, c);
    q->bytes += c->len;
    return true;
}

const uint8_t *out_peek(const struct out_queue *q, size_t *ret_len)
{
    if (!q->head)
        return NULL;
    *ret_len = q->head->len - q->head_done;
    return q->head->data + q->head_done;
}

void out_written(struct memory *m, struct out_queue *q, size_t n)
{
    q->head_done += n;
    q->bytes -= n;
    if (q->head_done < q->head->len)
        return;
    struct chunk *done = q->head;
    q->head = done->next;
    if (!q->head)
        q->tail = NULL;
    q->head_done = 0;
    chunk_put(m, done);
}

void out_clear(struct memory *m, struct out_queue *q)
{
    while (q->head) {
        struct chunk *c = q->head;
        q->head = c->next;
        chunk_put(m, c);
    }
    *q = (struct out_queue){.bytes_max = q->bytes_max};
}
