// A link to other hosts that the test plays, and two environments here: acme/web whose mail comes directly,
// acme/db whose mail comes by a queue. Called by remote_*_test.c.
#include "link.h"

struct fixture f;
struct link link_;

static void keep(char *out, size_t cap, const char *s)
{
    snprintf(out, cap, "%s", s ? s : "");
}

static int fake_send(void *arg, const struct remote_message *m, remote_done_cb *done, void *done_arg)
{
    (void)arg;
    link_.n_sent++;
    link_.way = m->way;
    link_.kind = m->envelope->kind;
    link_.id = m->envelope->id;
    link_.call = m->envelope->correlation;
    link_.expires_ms = m->envelope->expires_ms;
    wire_view_to_cstr(m->envelope->to, link_.to, sizeof link_.to);
    wire_view_to_cstr(m->envelope->from, link_.from, sizeof link_.from);
    wire_view_to_cstr(m->envelope->body, link_.body, sizeof link_.body);
    link_.refusal = envelope_refusal(m->envelope);
    keep(link_.host, sizeof link_.host, m->host);
    keep(link_.reply_to, sizeof link_.reply_to, m->reply_to);
    keep(link_.correlation, sizeof link_.correlation, m->correlation);
    keep(link_.label, sizeof link_.label, m->source->n_labels ? m->source->labels[0].key : "");
    link_.done = done;
    link_.done_arg = done_arg;
    return link_.rc;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list ap;
    size_t len = strlen(link_.told);
    va_start(ap, format);
    vsnprintf(link_.told + len, sizeof link_.told - len, format, ap);
    va_end(ap);
}

static void fake_added(void *arg, const char *tenant, const char *name, bool queue)
{
    (void)arg;
    tell("+%s/%s%s ", tenant, name, queue ? " queue" : " host");
}

static void fake_removed(void *arg, const char *tenant, const char *name, bool queue)
{
    (void)arg;
    tell("-%s/%s%s ", tenant, name, queue ? " queue" : " host");
}

static void fake_running(void *arg, const char *tenant, const char *name, bool running)
{
    (void)arg;
    tell("%s/%s %s ", tenant, name, running ? "runs" : "stops");
}

static void fake_served(void *arg, const char *tenant, const char *service, bool served)
{
    (void)arg;
    tell("%s/:%s %s ", tenant, service, served ? "served" : "unserved");
}

static void fake_processed(void *arg, const char *tenant, const char *name)
{
    (void)arg;
    tell("%s/%s processed ", tenant, name);
}

static void fake_describe(void *arg, char *out, size_t cap)
{
    (void)arg;
    snprintf(out, cap, "unreachable: no route to it");
}

static const struct remote_ops fake_ops = {
    .send = fake_send,
    .environment_added = fake_added,
    .environment_removed = fake_removed,
    .environment_running = fake_running,
    .service_served = fake_served,
    .mail_processed = fake_processed,
    .describe_link = fake_describe,
};

struct endpoint *web, *db;

static void ignore_mail(void *arg)
{
    (void)arg;
}

static const struct endpoint_cb callbacks = {.on_mail = ignore_mail, .on_removed = ignore_mail};

int setup(void **state)
{
    (void)state;
    fixture_init(&f, NULL);
    memset(&link_, 0, sizeof link_);
    router_set_remote(f.router, &fake_ops, NULL);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "web", ROUTER_MAILBOX_HOST), 0);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_DEFAULT), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "web", &callbacks, NULL, &web), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    endpoint_detach(web);
    endpoint_detach(db);
    fixture_done(&f);
    return 0;
}

struct router_receipt last;
static unsigned n_receipts;

void note_receipt(void *arg, const struct router_receipt *receipt)
{
    (void)arg;
    last = *receipt;
    n_receipts++;
}

struct envelope envelope(unsigned n, const char *from, const char *to, enum message_kind kind)
{
    return (struct envelope){.kind = kind,
                             .id = numbered_id(n),
                             .from = text_view(from),
                             .to = text_view(to),
                             .subject = text_view("q"),
                             .body = text_view("hello")};
}

struct envelope reply_envelope(unsigned n, unsigned call, const char *from, const char *to)
{
    struct envelope e = envelope(n, from, to, MESSAGE_REPLY);
    e.correlation = numbered_id(call);
    e.subject = text_view("");
    return e;
}

unsigned submit(struct endpoint *ep, const struct envelope *e)
{
    unsigned before = n_receipts;
    assert_int_equal(endpoint_submit(ep, e, note_receipt, NULL), 0);
    router_flush(f.router);
    return n_receipts - before;
}

unsigned send_kind(struct endpoint *ep, unsigned n, const char *to, enum message_kind kind)
{
    struct envelope e = envelope(n, "", to, kind);
    return submit(ep, &e);
}

enum receipt_code link_says(enum remote_outcome outcome)
{
    unsigned before = n_receipts;
    link_.done(link_.done_arg, outcome);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

struct remote_refusal refused;

static void note_decision(void *arg, const struct router_receipt *receipt,
                          const struct remote_refusal *refusal)
{
    note_receipt(arg, receipt);
    assert_true((refusal == NULL) == (receipt->code == RECEIPT_ACCEPTED));
    if (refusal)
        refused = *refusal;
}

enum receipt_code deliver(const struct remote_arrival *a)
{
    unsigned before = n_receipts;
    assert_int_equal(router_deliver(f.router, a, note_decision, NULL), 0);
    router_flush(f.router);
    assert_int_equal(n_receipts, before + 1);
    return last.code;
}

enum receipt_code arrives(const struct envelope *e, const char *host)
{
    const struct remote_arrival a = {.envelope = e, .host = host};
    return deliver(&a);
}

unsigned receive(struct endpoint *ep, char from[ADDRESS_CAP])
{
    struct envelope e;
    unsigned n = 0;
    struct message *m = endpoint_next(ep, false);
    if (!m)
        return 0;
    assert_true(message_envelope(m, &e));
    memcpy(&n, m->id.bytes + 1, sizeof n);
    if (from)
        wire_view_to_cstr(e.from, from, ADDRESS_CAP);
    endpoint_ack(ep, &m->id);
    message_unref(m);
    return n;
}

void add_stage(void *arg, const struct trace_view *v)
{
    char *text = arg;
    strcat(strcat(text, trace_stage_name(v->stage)), " ");
}
