// Both sides of a conversation: endpoints of some environments at one router, and what their callbacks said.
// Called by router_*_test.c.
#include "sides.h"

struct fixture f;
struct side web, db, db2, eve;

static void on_mail(void *arg)
{
    ((struct side *)arg)->n_mail++;
}

static void on_removed(void *arg)
{
    struct side *side = arg;
    side->removed = true;
    side->ep = NULL;
}

const struct endpoint_cb callbacks = {.on_mail = on_mail, .on_removed = on_removed};

void attach(struct side *side, const char *tenant, const char *name)
{
    *side = (struct side){0};
    assert_int_equal(endpoint_attach(f.router, tenant, name, &callbacks, side, &side->ep), 0);
}

void detach(struct side *side)
{
    endpoint_detach(side->ep);
    side->ep = NULL;
}

void start(const struct router_config *config)
{
    fixture_init(&f, config);
    attach(&web, "acme", "web");
    attach(&db, "acme", "db");
    attach(&db2, "acme", "db2");
    attach(&eve, "beta", "eve");
}

int setup(void **state)
{
    (void)state;
    start(NULL);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    struct side *all[] = {&web, &db, &db2, &eve};
    for (size_t i = 0; i < 4; i++)
        detach(all[i]);
    fixture_done(&f);
    return 0;
}

struct router_receipt last;
unsigned n_receipts;

void note_receipt(void *arg, const struct router_receipt *receipt)
{
    (void)arg;
    last = *receipt;
    n_receipts++;
}

struct envelope envelope(unsigned n, const char *to, enum message_kind kind)
{
    return (struct envelope){.kind = kind,
                             .id = numbered_id(n),
                             .from = text_view("beta/liar"),
                             .to = text_view(to),
                             .subject = text_view("q"),
                             .body = text_view("hello")};
}

enum receipt_code submit(struct side *side, const struct envelope *e)
{
    unsigned before = n_receipts;
    assert_int_equal(endpoint_submit(side->ep, e, note_receipt, NULL), 0);
    router_flush(f.router);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

enum receipt_code send_kind(struct side *side, unsigned n, const char *to, enum message_kind kind)
{
    struct envelope e = envelope(n, to, kind);
    return submit(side, &e);
}

enum receipt_code send_to(struct side *side, unsigned n, const char *to)
{
    return send_kind(side, n, to, MESSAGE_SEND);
}

enum receipt_code reply_to(struct side *side, unsigned n, unsigned call, const char *to)
{
    struct envelope e = envelope(n, to, MESSAGE_REPLY);
    e.correlation = numbered_id(call);
    e.subject = text_view("");
    return submit(side, &e);
}

unsigned receive(struct side *side, struct envelope *ret, bool replies_only)
{
    static struct message *kept; // what *ret points into, until the next call
    if (ret)
        *ret = (struct envelope){0};
    message_unref(kept);
    kept = endpoint_next(side->ep, replies_only);
    if (!kept)
        return 0;
    struct envelope unused;
    assert_true(message_envelope(kept, ret ? ret : &unused));
    unsigned n;
    memcpy(&n, kept->id.bytes + 1, sizeof n);
    endpoint_ack(side->ep, &kept->id);
    if (ret)
        return n;
    message_unref(kept);
    kept = NULL;
    return n;
}

void assert_view(struct wire_view v, const char *s)
{
    assert_true(wire_view_equals(v, s));
}
