// Fuzzes the router with sequences of what environments, operators and the rest of envd do: each input byte
// is an action, the following ones its arguments. Whatever happens in whatever order: a message is delivered
// with its sender's true address, never across tenants while the policy forbids it (replies apart), every
// submission gets one receipt, and what mailboxes hold adds up.
#include <stdlib.h>
#include <string.h>

#include "journal_folder.h"
#include "route/endpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENVIRONMENTS 5
#define HELD_MAX     64

static const struct {
    const char *tenant, *name;
} names[ENVIRONMENTS] = {{"acme", "web"}, {"acme", "db"}, {"acme", "x"}, {"beta", "eve"}, {"beta", "y"}};

static const char *const targets[] = {
    "web",     "db",      "acme/web",      "acme/db",     "beta/eve",  "beta/y", ":s", ":t",
    "acme/:s", "beta/:s", "host/operator", "acme/nobody", "gamma/any", "beta/z", ":u", "no/good/x"};

static const char *const policies[] = {"* acme/* acme/* allow\n* beta/* beta/* allow\n* host/* * allow",
                                       "* * * allow rate=5/s burst=3", "* * acme/:s allow\n* * beta/:s allow",
                                       "* * * deny"};

struct side {
    struct endpoint *ep;
    bool defined;
    struct id held[HELD_MAX];
    unsigned n_held;
};

struct fuzz {
    const uint8_t *data;
    size_t size, at;
    uint64_t now_ms;
    struct mediator *mediator;
    struct router *router;
    struct side sides[ENVIRONMENTS];
    unsigned policy;
    unsigned receipts_owed;
    uint64_t operator_call;
};

static struct event_base *base;

static uint8_t take(struct fuzz *f)
{
    return f->at < f->size ? f->data[f->at++] : 0;
}

static uint64_t realtime_ms(void *arg)
{
    return ((struct fuzz *)arg)->now_ms;
}

static uint64_t monotonic_ns(void *arg)
{
    return ((struct fuzz *)arg)->now_ms * 1000000;
}

static void on_mail(void *arg)
{
    (void)arg;
}

static void on_removed(void *arg)
{
    struct side *side = arg;
    side->ep = NULL;
    side->n_held = 0;
}

static const struct endpoint_cb callbacks = {.on_mail = on_mail, .on_removed = on_removed};
static const struct router_ops ops = {.realtime_ms = realtime_ms, .monotonic_ns = monotonic_ns};

static void set_policy(struct fuzz *f, unsigned which)
{
    static struct policy *parsed[4];
    const struct policy_source source = {"main", policies[which], strlen(policies[which])};
    if (!parsed[which] && policy_new(&source, 1, which + 1, &parsed[which], NULL, NULL) < 0)
        abort();
    mediator_set_policy(f->mediator, parsed[which]);
    f->policy = which;
}

static void on_receipt(void *arg, const struct router_receipt *receipt)
{
    struct fuzz *f = arg;
    if (f->receipts_owed == 0 || (unsigned)receipt->code >= RECEIPT_CODE_COUNT ||
        (receipt->code == RECEIPT_ACCEPTED) != (receipt->detail[0] == '\0'))
        abort();
    f->receipts_owed--;
}

static void on_reply(void *arg, const struct envelope *reply)
{
    struct fuzz *f = arg;
    (void)reply;
    f->operator_call = 0;
}

static struct id small_id(uint8_t n)
{
    return (struct id){{1, (uint8_t)(n % 16)}};
}

// The body says who sent it and under which policy.
static void make_envelope(struct fuzz *f, struct envelope *e, uint8_t body[2], uint8_t sender)
{
    const char *to = targets[take(f) % (sizeof targets / sizeof targets[0])];
    uint8_t bits = take(f);
    body[0] = sender;
    body[1] = (uint8_t)f->policy;
    *e = (struct envelope){.kind = (enum message_kind)(bits % MESSAGE_KIND_COUNT),
                           .priority = (bits >> 2) % 10,
                           .id = small_id(take(f)),
                           .to = {(const uint8_t *)to, strlen(to)},
                           .subject = {(const uint8_t *)"s", 1},
                           .body = {body, 2}};
    if (bits & 0x40)
        e->expires_ms = f->now_ms + take(f);
    if (e->kind == MESSAGE_REPLY)
        e->correlation = small_id(take(f));
}

static void flush(struct fuzz *f)
{
    router_flush(f->router);
    if (f->receipts_owed)
        abort();
}

static void do_send(struct fuzz *f)
{
    uint8_t sender = take(f) % ENVIRONMENTS, body[2];
    struct envelope e;
    make_envelope(f, &e, body, sender);
    if (!f->sides[sender].ep)
        return;
    f->receipts_owed++;
    if (endpoint_submit(f->sides[sender].ep, &e, on_receipt, f) < 0)
        abort();
    if (e.priority & 1) // the others are still under way when the next action comes
        flush(f);
}

static void do_operator(struct fuzz *f)
{
    static const struct router_operator_cb cb = {on_receipt, on_reply};
    uint8_t body[2];
    struct envelope e;
    make_envelope(f, &e, body, 0xff);
    uint64_t handle = 0;
    f->receipts_owed++;
    if (router_submit_operator(f->router, &e, &cb, f, &handle) < 0)
        abort();
    flush(f); // the handle is ours for as long
    if (handle)
        f->operator_call = handle;
}

static void check_delivery(const struct message *m, unsigned receiver)
{
    struct envelope e;
    char from[ADDRESS_CAP];
    struct address a;
    if (!message_envelope(m, &e) || e.body.len != 2 || !wire_view_to_cstr(e.from, from, sizeof from) ||
        address_parse(from, strlen(from), &a) != NULL)
        abort();
    unsigned sender = e.body.data[0];
    const char *tenant = sender == 0xff ? NAME_HOST : names[sender].tenant;
    const char *name = sender == 0xff ? ROUTER_OPERATOR : names[sender].name;
    if (strcmp(a.tenant, tenant) != 0 || strcmp(a.name, name) != 0)
        abort();
    if (e.body.data[1] == 0 && e.kind != MESSAGE_REPLY && sender != 0xff &&
        strcmp(names[receiver].tenant, tenant) != 0)
        abort();
    if (e.body.data[1] == 3 && e.kind != MESSAGE_REPLY)
        abort();
}

static void do_receive(struct fuzz *f)
{
    uint8_t bits = take(f);
    struct side *side = &f->sides[bits % ENVIRONMENTS];
    struct message *m = side->ep ? endpoint_next(side->ep, bits & 0x80) : NULL;
    if (!m)
        return;
    if ((bits & 0x80) && m->kind != MESSAGE_REPLY)
        abort();
    check_delivery(m, bits % ENVIRONMENTS);
    if (side->n_held < HELD_MAX)
        side->held[side->n_held++] = m->id;
    message_unref(m);
}

static void do_settle(struct fuzz *f)
{
    uint8_t bits = take(f), which = take(f);
    struct side *side = &f->sides[bits % ENVIRONMENTS];
    if (!side->ep)
        return;
    const struct id id = side->n_held ? side->held[which % side->n_held] : small_id(which);
    if (bits & 0x80)
        endpoint_ack(side->ep, &id);
    else
        endpoint_release(side->ep, &id, bits & 0x40);
}

static void do_attach(struct fuzz *f)
{
    unsigned i = take(f) % ENVIRONMENTS;
    struct side *side = &f->sides[i];
    if (side->ep) {
        endpoint_detach(side->ep);
        side->ep = NULL;
        side->n_held = 0;
    } else if (side->defined) {
        if (endpoint_attach(f->router, names[i].tenant, names[i].name, &callbacks, side, &side->ep) < 0)
            abort();
    }
}

static void do_define(struct fuzz *f)
{
    unsigned i = take(f) % ENVIRONMENTS;
    struct side *side = &f->sides[i];
    int rc = side->defined ? router_environment_removed(f->router, names[i].tenant, names[i].name)
                           : router_environment_added(f->router, names[i].tenant, names[i].name);
    if (rc < 0 || (side->defined && side->ep))
        abort();
    side->defined = !side->defined;
}

static void do_service(struct fuzz *f)
{
    uint8_t bits = take(f);
    struct side *side = &f->sides[bits % ENVIRONMENTS];
    const char *service = bits & 0x40 ? "s" : "t";
    if (side->ep && (bits & 0x80))
        endpoint_unregister(side->ep, service);
    else if (side->ep)
        endpoint_register(side->ep, service);
}

static void do_time(struct fuzz *f)
{
    f->now_ms += take(f);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void do_policy(struct fuzz *f)
{
    set_policy(f, take(f) % 4);
}

static void do_cancel(struct fuzz *f)
{
    router_operator_cancel(f->router, f->operator_call);
    f->operator_call = 0;
}

static void (*const actions[])(struct fuzz *f) = {do_send,   do_send,   do_receive, do_receive,
                                                  do_settle, do_attach, do_define,  do_service,
                                                  do_time,   do_policy, do_cancel,  do_operator};

static void check_sums(const struct fuzz *f)
{
    struct router_stats all, one;
    uint64_t depth = 0;
    router_get_stats(f->router, &all);
    for (size_t i = 0; i < ENVIRONMENTS; i++)
        if (router_environment_stats(f->router, names[i].tenant, names[i].name, &one) == 0)
            depth += one.depth;
    if (all.depth != depth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!base)
        base = event_base_new();
    struct router_config config;
    router_config_default(&config);
    config.mailbox_messages_max = 6;
    config.rate_per_s = 100;
    config.rate_burst = 50;
    config.calls_max = 4;
    config.dedup_window = 12;
    struct fuzz f = {.data = data, .size = size, .now_ms = 1700000000000, .mediator = mediator_new(16, 16)};
    f.router = router_new(base, &config, &ops, &f, f.mediator);
    char folder[JOURNAL_FOLDER_CAP];
    if (!f.router || !journal_folder_open(f.router, folder))
        abort();
    set_policy(&f, 0);
    for (size_t i = 0; i < ENVIRONMENTS; i++) {
        if (router_environment_added(f.router, names[i].tenant, names[i].name) < 0 ||
            endpoint_attach(f.router, names[i].tenant, names[i].name, &callbacks, &f.sides[i],
                            &f.sides[i].ep) < 0)
            abort();
        f.sides[i].defined = true;
    }
    while (f.at < f.size)
        actions[take(&f) % (sizeof actions / sizeof actions[0])](&f);
    flush(&f);
    check_sums(&f);
    for (size_t i = 0; i < ENVIRONMENTS; i++)
        endpoint_detach(f.sides[i].ep);
    router_free(f.router);
    mediator_free(f.mediator);
    journal_folder_remove(folder);
    return 0;
}
