// A host for tests (world.h): receipts, a mailbox with credit, ACK and RELEASE, services, all for one
// environment.
#include <stdlib.h>
#include <string.h>

#include "proto/agent.h"
#include "world.h"

#define BODY_MAX     (1u << 20)
#define SERVICES_MAX 8

struct letter {
    struct letter *next;
    struct id id;
    size_t len;
    uint8_t frame[]; // DELIVER
};

struct loop_host {
    uint8_t *in, *out;
    size_t in_len, out_len, out_done, out_cap;
    struct letter *waiting, *given; // in order of arrival
    uint32_t credit;
    char services[SERVICES_MAX][NAME_CAP];
    bool broken;
};

struct loop_host *loop_host_new(void)
{
    struct loop_host *h = calloc(1, sizeof *h);
    if (!h || !(h->in = malloc(AGENT_HEADER_LEN + AGENT_FRAME_MAX)))
        abort();
    return h;
}

static void letters_free(struct letter *l)
{
    while (l) {
        struct letter *next = l->next;
        free(l);
        l = next;
    }
}

void loop_host_free(struct loop_host *h)
{
    letters_free(h->waiting);
    letters_free(h->given);
    free(h->in);
    free(h->out);
    free(h);
}

static struct letter **end_of(struct letter **list)
{
    while (*list)
        list = &(*list)->next;
    return list;
}

void loop_host_reset(struct loop_host *h)
{
    *end_of(&h->given) = h->waiting; // the older ones first
    h->waiting = h->given;
    h->given = NULL;
    h->in_len = h->out_len = h->out_done = 0;
    h->credit = 0;
    h->broken = false;
    memset(h->services, 0, sizeof h->services);
}

const uint8_t *loop_host_output(const struct loop_host *h, size_t *ret_len)
{
    *ret_len = h->out_len - h->out_done;
    return h->out + h->out_done;
}

void loop_host_written(struct loop_host *h, size_t n)
{
    h->out_done += n;
    if (h->out_done == h->out_len)
        h->out_done = h->out_len = 0;
}

static void out_bytes(struct loop_host *h, const uint8_t *data, size_t n)
{
    if (h->out_cap - h->out_len < n) {
        h->out_cap = h->out_len + n + 4096;
        h->out = realloc(h->out, h->out_cap);
        if (!h->out)
            abort();
    }
    memcpy(h->out + h->out_len, data, n);
    h->out_len += n;
}

static void out_frame(struct loop_host *h, const struct agent_frame *f)
{
    uint8_t raw[1024];
    struct wire_writer w;
    wire_writer_init(&w, raw, sizeof raw);
    agent_frame_write(&w, f);
    out_bytes(h, raw, w.pos);
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void give(struct loop_host *h)
{
    while (h->waiting && h->credit > 0) {
        struct letter *l = h->waiting;
        h->waiting = l->next;
        l->next = NULL;
        *end_of(&h->given) = l;
        h->credit--;
        out_bytes(h, l->frame, l->len);
    }
}

static void deliver(struct loop_host *h, const struct agent_frame *f)
{
    struct agent_frame d = {.type = AGENT_DELIVER, .envelope = f->envelope};
    d.envelope.from = view("acme/web");
    struct letter *l = malloc(sizeof *l + agent_frame_size(&d));
    struct wire_writer w;
    if (!l)
        abort();
    *l = (struct letter){.id = d.envelope.id, .len = agent_frame_size(&d)};
    wire_writer_init(&w, l->frame, l->len);
    agent_frame_write(&w, &d);
    if (d.envelope.kind == MESSAGE_REPLY) { // needs no credit; acknowledged by the agent itself
        out_bytes(h, l->frame, l->len);
        free(l);
        return;
    }
    *end_of(&h->waiting) = l;
    give(h);
}

static char *service_find(struct loop_host *h, const char *name)
{
    for (int i = 0; i < SERVICES_MAX; i++)
        if (strcmp(h->services[i], name) == 0)
            return h->services[i];
    return NULL;
}

static void say_gone(struct loop_host *h, uint32_t tag, struct wire_view address,
                     enum agent_certainty certainty)
{
    out_frame(h, &(struct agent_frame){.type = AGENT_GONE,
                                       .tag = tag,
                                       .gone = {address, certainty, view("stopped: \"by hand\"")}});
}

// What another host says to a call that this one had accepted.
static void refuse_late(struct loop_host *h, const struct envelope *e)
{
    const struct agent_frame d = {.type = AGENT_DELIVER,
                                  .envelope = {.kind = MESSAGE_REPLY,
                                               .id = {{7}},
                                               .correlation = e->id,
                                               .from = e->to,
                                               .to = view("acme/web"),
                                               .n_headers = 1,
                                               .headers = {{view(ENVELOPE_REFUSED), view("mailbox-full")}},
                                               .body = view("ask an operator")}};
    out_frame(h, &d);
}

static void handle_send(struct loop_host *h, const struct agent_frame *f)
{
    const struct envelope *e = &f->envelope;
    struct agent_frame receipt = {.type = AGENT_RECEIPT, .tag = f->tag, .receipt = {.id = e->id}};
    struct address to;
    address_parse((const char *)e->to.data, e->to.len, &to);
    if (wire_view_equals(e->subject, "host.vanish")) {
        h->broken = true;
        return;
    }
    if (strcmp(to.name, "forbidden") == 0) {
        receipt.receipt.code = RECEIPT_DENIED;
        receipt.receipt.detail = view("rule 3");
    } else if (strcmp(to.name, "nobody") == 0 || (to.is_service && !service_find(h, to.name))) {
        receipt.receipt.code = RECEIPT_NO_SUCH_ENVIRONMENT;
    }
    bool late = strcmp(to.name, "full-far-away") == 0, early = strcmp(to.name, "full-at-once") == 0;
    if (early) // the broker may tell the other host first
        refuse_late(h, e);
    out_frame(h, &receipt);
    if (late)
        refuse_late(h, e);
    if (late || early)
        return;
    if (receipt.receipt.code != RECEIPT_ACCEPTED || strcmp(to.name, "silent") == 0)
        return;
    if (wire_view_equals(e->subject, "host.shutdown"))
        out_frame(
            h, &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {1000, view("the test is over")}});
    else if (wire_view_equals(e->subject, "host.gone"))
        say_gone(h, 0, e->to, e->priority > 0 ? AGENT_GONE_UNKNOWN : AGENT_GONE_CERTAIN);
    else
        deliver(h, f);
}

static void handle_answer(struct loop_host *h, const struct agent_frame *f)
{
    for (struct letter **at = &h->given; *at; at = &(*at)->next) {
        struct letter *l = *at;
        if (!id_equals(&l->id, &f->id))
            continue;
        *at = l->next;
        if (f->type == AGENT_ACK) {
            free(l);
            return;
        }
        l->next = h->waiting;
        h->waiting = l;
        give(h);
        return;
    }
}

static void handle_service(struct loop_host *h, const struct agent_frame *f)
{
    char name[NAME_CAP];
    wire_view_to_cstr(f->service, name, sizeof name);
    struct agent_frame result = {.type = AGENT_RESULT, .tag = f->tag};
    char *slot = service_find(h, f->type == AGENT_REGISTER ? "" : name);
    if (strcmp(name, "taken") == 0 || !slot)
        result.receipt.code = RECEIPT_DENIED;
    else if (f->type == AGENT_REGISTER)
        memcpy(slot, name, NAME_CAP);
    else
        slot[0] = '\0';
    out_frame(h, &result);
}

static void handle_monitor(struct loop_host *h, const struct agent_frame *f)
{
    struct agent_frame result = {.type = AGENT_RESULT, .tag = f->tag};
    if (wire_view_equals(f->address, "forbidden"))
        result.receipt.code = RECEIPT_DENIED;
    out_frame(h, &result);
    if (f->type == AGENT_MONITOR && wire_view_equals(f->address, "away"))
        say_gone(h, f->tag, f->address, AGENT_GONE_CERTAIN);
}

static void handle(struct loop_host *h, const struct agent_frame *f)
{
    switch (f->type) {
    case AGENT_HELLO:
        out_frame(h, &(struct agent_frame){.type = AGENT_HELLO_OK,
                                           .hello_ok = {AGENT_VERSION, AGENT_CAN_MONITOR, view("acme"),
                                                        view("web"), BODY_MAX, 1700000000ull * 1000000000}});
        break;
    case AGENT_SEND:
        handle_send(h, f);
        break;
    case AGENT_ACK:
    case AGENT_RELEASE:
        handle_answer(h, f);
        break;
    case AGENT_CREDIT:
        h->credit += f->credit;
        give(h);
        break;
    case AGENT_REGISTER:
    case AGENT_UNREGISTER:
        handle_service(h, f);
        break;
    case AGENT_MONITOR:
    case AGENT_UNMONITOR:
        handle_monitor(h, f);
        break;
    case AGENT_CLOCK:
        out_frame(h, &(struct agent_frame){.type = AGENT_CLOCK_IS,
                                           .tag = f->tag,
                                           .realtime_ns = 1700000001ull * 1000000000 + 5});
        break;
    default:
        abort(); // the agent under test sent what no agent sends
    }
}

bool loop_host_input(struct loop_host *h, const void *data, size_t n)
{
    const uint8_t *at = data;
    while (n > 0 && !h->broken) {
        struct agent_header header = {0};
        size_t need = AGENT_HEADER_LEN;
        if (h->in_len >= AGENT_HEADER_LEN) {
            if (agent_header_read(h->in, &header))
                abort();
            need += header.len_bytes;
        }
        size_t take = n < need - h->in_len ? n : need - h->in_len;
        memcpy(h->in + h->in_len, at, take);
        h->in_len += take;
        at += take;
        n -= take;
        if (h->in_len < AGENT_HEADER_LEN || agent_header_read(h->in, &header))
            continue;
        if (h->in_len < AGENT_HEADER_LEN + (size_t)header.len_bytes)
            continue;
        struct agent_frame f;
        struct wire_error error;
        if (!agent_frame_read(&header, h->in + AGENT_HEADER_LEN, &f, &error))
            abort();
        handle(h, &f);
        h->in_len = 0;
    }
    return !h->broken;
}
