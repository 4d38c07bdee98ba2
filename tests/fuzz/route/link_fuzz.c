// Fuzzes the router with a link to other hosts: each input byte is an action. Environments and operators send
// and call, the link answers when and what it likes, messages and replies of other hosts and of this one
// arrive, environments come and go. Every submission and every arrival gets one receipt, and an operator's
// call at most one reply, never before its receipt.
#include <stdlib.h>
#include <string.h>

#include "journal_folder.h"
#include "route/endpoint.h"
#include "route/remote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENVIRONMENTS 3
#define SENT_MAX     32
#define OPERATOR_MAX 16

static const char *const names[ENVIRONMENTS] = {"web", "db", "x"}; // db and x have queues
static const char *const everybody[] = {"acme/web", "acme/db",       "acme/x",   "acme/far",
                                        "beta/far", "host/operator", "amqp/ops", "acme/:s"};

struct operators_call {
    uint64_t handle;
    bool used, has_receipt, has_reply;
};

struct fuzz {
    const uint8_t *data;
    size_t size, at;
    uint64_t now_ms;
    struct router *router;
    struct mediator *mediator;
    struct endpoint *ep[ENVIRONMENTS];
    bool defined[ENVIRONMENTS];
    struct {
        remote_done_cb *done;
        void *arg;
    } sent[SENT_MAX];
    unsigned n_sent, owed, arrivals_owed, n_operator;
    struct operators_call operator[OPERATOR_MAX];
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

static const struct router_ops ops = {.realtime_ms = realtime_ms, .monotonic_ns = monotonic_ns};

// --- the link ---

static int link_send(void *arg, const struct remote_message *m, remote_done_cb *done, void *done_arg)
{
    struct fuzz *f = arg;
    if (m->envelope->from.len == 0 || m->to->tenant[0] == '\0' ||
        (m->way == REMOTE_TO_HOST && m->host[0] == '\0') || (m->way == REMOTE_TO_CLIENT && !m->reply_to))
        abort();
    if (f->n_sent == SENT_MAX)
        return -1;
    f->sent[f->n_sent].done = done;
    f->sent[f->n_sent++].arg = done_arg;
    return 0;
}

static void link_answers(struct fuzz *f, unsigned which, unsigned outcome)
{
    remote_done_cb *done = f->sent[which].done;
    void *arg = f->sent[which].arg;
    f->sent[which] = f->sent[--f->n_sent];
    done(arg, (enum remote_outcome)(outcome % (REMOTE_UNKNOWN + 1)));
}

static void ignore_environment(void *arg, const char *tenant, const char *name, bool what)
{
    (void)arg;
    (void)tenant;
    (void)name;
    (void)what;
}

static void ignore_processed(void *arg, const char *tenant, const char *name)
{
    (void)arg;
    (void)tenant;
    (void)name;
}

static void describe_link(void *arg, char *out, size_t cap)
{
    (void)arg;
    snprintf(out, cap, "%s", "away");
}

static const struct remote_ops link_ops = {
    .send = link_send,
    .environment_added = ignore_environment,
    .environment_removed = ignore_environment,
    .environment_running = ignore_environment,
    .service_served = ignore_environment,
    .mail_processed = ignore_processed,
    .describe_link = describe_link,
};

// --- everybody else ---

static void on_mail(void *arg)
{
    (void)arg;
}

static void on_removed(void *arg)
{
    *(struct endpoint **)arg = NULL;
}

static const struct endpoint_cb callbacks = {.on_mail = on_mail, .on_removed = on_removed};

static void on_receipt(void *arg, const struct router_receipt *receipt)
{
    struct fuzz *f = arg;
    if (f->owed-- == 0 || (unsigned)receipt->code >= RECEIPT_CODE_COUNT)
        abort();
}

static void on_arrived(void *arg, const struct router_receipt *receipt, const struct remote_refusal *refusal)
{
    struct fuzz *f = arg;
    if (f->arrivals_owed-- == 0 || (unsigned)receipt->code >= RECEIPT_CODE_COUNT ||
        (refusal == NULL) != (receipt->code == RECEIPT_ACCEPTED))
        abort();
    if (refusal)
        router_tell_caller(f->router, refusal);
}

static void on_operator_receipt(void *arg, const struct router_receipt *receipt)
{
    struct operators_call *c = arg;
    if (c->has_receipt || c->has_reply || (unsigned)receipt->code >= RECEIPT_CODE_COUNT)
        abort();
    c->has_receipt = true;
}

static void on_operator_reply(void *arg, const struct envelope *reply)
{
    struct operators_call *c = arg;
    (void)reply;
    if (!c->has_receipt || c->has_reply)
        abort();
    c->has_reply = true;
}

static struct id small_id(uint8_t n)
{
    return (struct id){{1, (uint8_t)(n % 8)}};
}

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static struct envelope take_envelope(struct fuzz *f)
{
    uint8_t bits = take(f), ids = take(f);
    struct envelope e = {.kind = (enum message_kind)(bits % MESSAGE_KIND_COUNT),
                         .id = small_id(ids),
                         .to = view_of(everybody[(bits >> 2) % 8]),
                         .subject = view_of("s"),
                         .body = view_of("b")};
    if (e.kind == MESSAGE_REPLY)
        e.correlation = small_id(ids >> 4);
    if (bits & 0x80)
        e.expires_ms = f->now_ms + ids;
    return e;
}

static void do_send(struct fuzz *f)
{
    struct endpoint *ep = f->ep[take(f) % ENVIRONMENTS];
    struct envelope e = take_envelope(f);
    if (!ep)
        return;
    f->owed++;
    if (endpoint_submit(ep, &e, on_receipt, f) < 0)
        abort();
}

static void do_operator(struct fuzz *f)
{
    static const struct router_operator_cb cb = {on_operator_receipt, on_operator_reply};
    struct envelope e = take_envelope(f);
    if (f->n_operator == OPERATOR_MAX)
        return;
    struct operators_call *c = &f->operator[f->n_operator++];
    c->used = true;
    if (router_submit_operator(f->router, &e, &cb, c, &c->handle) < 0)
        abort();
}

static void do_answer(struct fuzz *f)
{
    uint8_t bits = take(f);
    if (f->n_sent > 0)
        link_answers(f, (bits >> 3) % f->n_sent, bits % 8);
}

static void do_arrive(struct fuzz *f)
{
    static const struct mediate_label label = {"a", "b"};
    uint8_t bits = take(f);
    struct envelope e = take_envelope(f);
    unsigned from = bits % 7; // a service sends nothing
    bool outside = from == 6;
    e.from = view_of(everybody[from]);
    if (outside && e.kind != MESSAGE_CALL)
        e.kind = MESSAGE_SEND;
    const struct remote_arrival a = {.envelope = &e,
                                     .labels = &label,
                                     .n_labels = bits >> 7,
                                     .own = !outside && (bits & 0x40),
                                     .host = outside         ? NULL
                                             : (bits & 0x40) ? "h1"
                                                             : "h2",
                                     .reply_to = outside ? "client.ops.q" : NULL,
                                     .correlation = outside ? "c" : NULL};
    f->arrivals_owed++;
    if (router_deliver(f->router, &a, on_arrived, f) < 0)
        abort();
}

static void do_receive(struct fuzz *f)
{
    uint8_t bits = take(f);
    struct endpoint *ep = f->ep[bits % ENVIRONMENTS];
    struct message *m = ep ? endpoint_next(ep, false) : NULL;
    if (m && (bits & 0x80))
        endpoint_ack(ep, &m->id);
    message_unref(m);
}

static void attach(struct fuzz *f, unsigned i)
{
    if (endpoint_attach(f->router, "acme", names[i], &callbacks, &f->ep[i], &f->ep[i]) < 0)
        abort();
}

static void define(struct fuzz *f, unsigned i)
{
    if (router_environment_added(f->router, "acme", names[i]) < 0 ||
        router_environment_mailbox(f->router, "acme", names[i],
                                   i == 0 ? ROUTER_MAILBOX_HOST : ROUTER_MAILBOX_QUEUE) < 0)
        abort();
    f->defined[i] = true;
}

static void do_change(struct fuzz *f)
{
    uint8_t bits = take(f);
    unsigned i = bits % ENVIRONMENTS;
    if (!f->defined[i]) {
        define(f, i);
    } else if (bits & 0x80) {
        f->defined[i] = false;
        if (router_environment_removed(f->router, "acme", names[i]) < 0)
            abort();
    } else if (!f->ep[i]) {
        attach(f, i);
    } else if (bits & 0x40) {
        endpoint_detach(f->ep[i]);
        f->ep[i] = NULL;
    } else if (bits & 0x20) {
        endpoint_register(f->ep[i], "s");
    } else {
        endpoint_unregister(f->ep[i], "s");
    }
}

static void do_time(struct fuzz *f)
{
    f->now_ms += take(f);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

static void do_flush(struct fuzz *f)
{
    router_flush(f->router);
}

static void (*const actions[])(struct fuzz *f) = {do_send,   do_operator, do_answer, do_arrive, do_arrive,
                                                  do_answer, do_receive,  do_change, do_time,   do_flush};

static void end(struct fuzz *f)
{
    while (f->n_sent > 0)
        link_answers(f, 0, REMOTE_UNKNOWN);
    router_flush(f->router);
    if (f->owed || f->arrivals_owed)
        abort();
    for (unsigned i = 0; i < f->n_operator; i++)
        if (!f->operator[i].has_receipt)
            abort();
    for (unsigned i = 0; i < ENVIRONMENTS; i++)
        endpoint_detach(f->ep[i]);
    router_free(f->router);
    mediator_free(f->mediator);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy *policy;
    const struct policy_source source = {"main", "* * * allow", 11};
    char folder[JOURNAL_FOLDER_CAP];
    struct router_config config;
    router_config_default(&config);
    config.mailbox_messages_max = 4;
    config.calls_max = 4;
    if (!base)
        base = event_base_new();
    if (!policy && policy_new(&source, 1, 1, &policy, NULL, NULL) < 0)
        abort();
    struct fuzz f = {.data = data, .size = size, .now_ms = 1700000000000, .mediator = mediator_new(16, 16)};
    f.router = router_new(base, &config, &ops, &f, f.mediator);
    if (!f.router || !journal_folder_open(f.router, folder))
        abort();
    mediator_set_policy(f.mediator, policy);
    router_set_remote(f.router, &link_ops, &f);
    for (unsigned i = 0; i < ENVIRONMENTS; i++) {
        define(&f, i);
        attach(&f, i);
    }
    while (f.at < f.size)
        actions[take(&f) % (sizeof actions / sizeof actions[0])](&f);
    end(&f);
    journal_folder_remove(folder);
    return 0;
}
