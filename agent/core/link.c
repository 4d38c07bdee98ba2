// The link to the host: connecting with backoff, HELLO, and what each of the host's frames does. The host is
// trusted to mean well, not to be without bugs: a frame that is malformed or out of place costs it the link.
#include "state.h"

#include <string.h>

#define NS_PER_MS 1000000ull

static void link_clear(struct agent *a)
{
    frame_in_reset(&a->memory, &a->link.in);
    out_clear(&a->memory, &a->link.out);
    a->link.doom = NULL;
    a->link.credit = 0;
}

static void set_deadline(struct agent *a, uint64_t ms)
{
    a->link.deadline_ns = agent_monotonic(a) + ms * NS_PER_MS;
    agent_wake_at(a, a->link.deadline_ns);
}

// ---- states ----

static void act_connect(struct agent *a)
{
    set_deadline(a, CONNECT_MS);
    if (a->ops->connect_host(a->ctx) < 0)
        link_event(a, LINK_LOST);
}

static void act_greet(struct agent *a)
{
    set_deadline(a, AGENT_HELLO_TIMEOUT_MS);
    link_push(
        a, &(struct agent_frame){.type = AGENT_HELLO,
                                 .hello = {.version_min = AGENT_VERSION,
                                           .version_max = AGENT_VERSION,
                                           .capabilities = a->ops->capabilities,
                                           .software = {(const uint8_t *)a->software, strlen(a->software)}}});
}

// Waits between half and all of the present backoff, so that many environments do not come back in step.
static void act_back_off(struct agent *a)
{
    uint8_t random;
    link_clear(a);
    a->ops->random(a->ctx, &random, sizeof random);
    set_deadline(a, a->link.backoff_ms / 2 + a->link.backoff_ms * (uint64_t)random / 512);
    a->link.backoff_ms = a->link.backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : a->link.backoff_ms * 2;
}

static void act_give_up(struct agent *a)
{
    agent_log(a, "the host does not answer", "trying again");
    a->ops->close_host(a->ctx);
    act_back_off(a);
}

// In this order: what was processed must not come again, services must be known before messages for them can
// come, and what was sent before goes before what is sent now.
static void act_ready(struct agent *a)
{
    a->link.backoff_ms = BACKOFF_MIN_MS;
    a->shutting_down = false;
    deliver_link_ready(a);
    service_link_ready(a);
    monitor_link_ready(a);
    send_link_ready(a);
    client_greet_waiting(a);
}

static void act_lost(struct agent *a)
{
    agent_log(a, "the link to the host is lost", "connecting again");
    act_back_off(a);
    send_link_lost(a);
    service_link_lost(a);
    monitor_link_lost(a);
    client_clocks_lost(a);
}

static const struct link_step {
    void (*action)(struct agent *a);
    enum link_state next;
} steps[LINK_STATE_COUNT][LINK_EVENT_COUNT] = {
    [LINK_IDLE] = {[LINK_START] = {act_connect, LINK_CONNECTING}},
    [LINK_WAITING] = {[LINK_TIMEOUT] = {act_connect, LINK_CONNECTING}},
    [LINK_CONNECTING] = {[LINK_UP] = {act_greet, LINK_GREETING},
                         [LINK_LOST] = {act_back_off, LINK_WAITING},
                         [LINK_TIMEOUT] = {act_give_up, LINK_WAITING}},
    [LINK_GREETING] = {[LINK_ACCEPTED] = {act_ready, LINK_READY},
                       [LINK_LOST] = {act_back_off, LINK_WAITING},
                       [LINK_TIMEOUT] = {act_give_up, LINK_WAITING}},
    [LINK_READY] = {[LINK_LOST] = {act_lost, LINK_WAITING}},
};

void link_event(struct agent *a, enum link_event event)
{
    const struct link_step *step = &steps[a->link.state][event];
    if (!step->action)
        return; // a report that crossed with our own close
    a->link.state = step->next;
    step->action(a);
}

static bool link_is_open(const struct agent *a)
{
    return (a->link.state == LINK_GREETING || a->link.state == LINK_READY) && !a->link.doom;
}

void link_doom(struct agent *a, const char *why)
{
    if (link_is_open(a))
        a->link.doom = why;
}

bool link_finish_doomed(struct agent *a)
{
    if (!a->link.doom)
        return false;
    agent_log(a, "the agent ends the link to the host", a->link.doom);
    a->ops->close_host(a->ctx);
    link_event(a, LINK_LOST);
    return true;
}

void link_close(struct agent *a)
{
    if (a->link.state != LINK_IDLE && a->link.state != LINK_WAITING)
        a->ops->close_host(a->ctx);
    link_clear(a);
    a->link.state = LINK_IDLE;
}

void link_expire(struct agent *a, uint64_t now_ns)
{
    if (a->link.state == LINK_IDLE || a->link.state == LINK_READY)
        return;
    if (now_ns >= a->link.deadline_ns)
        link_event(a, LINK_TIMEOUT);
    else
        agent_wake_at(a, a->link.deadline_ns);
}

// ---- out ----

void link_push(struct agent *a, const struct agent_frame *f)
{
    if (link_is_open(a) && !out_push(&a->memory, &a->link.out, f))
        link_doom(a, "no memory for a frame to the host");
}

void link_forward(struct agent *a, struct frame_in *in)
{
    if (link_is_open(a) && !out_forward(&a->memory, &a->link.out, in))
        link_doom(a, "no memory for a frame to the host");
}

void link_push_again(struct agent *a, struct chunk *frame)
{
    if (!link_is_open(a))
        return;
    frame->n_refs++;
    if (out_push_chunk(&a->link.out, frame))
        return;
    frame->n_refs--;
    link_doom(a, "no room for a frame to the host");
}

void link_flush(struct agent *a)
{
    struct out_queue *q = &a->link.out;
    const uint8_t *data;
    size_t len;
    while (link_is_open(a) && !q->blocked && (data = out_peek(q, &len)) != NULL) {
        size_t n = a->ops->write_host(a->ctx, data, len);
        q->blocked = n < len;
        out_written(&a->memory, q, n);
    }
}

// ---- in ----

static bool name_take(char out[NAME_CAP], struct wire_view name)
{
    bool changed = out[0] != '\0' && !wire_view_equals(name, out);
    wire_view_to_cstr(name, out, NAME_CAP);
    return changed;
}

static void handle_hello_ok(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    if (f->hello_ok.version != AGENT_VERSION) {
        link_doom(a, "the host answers with a version that was not offered");
        return;
    }
    bool other_tenant = name_take(a->tenant, f->hello_ok.tenant),
         other_name = name_take(a->name, f->hello_ok.name);
    if (other_tenant || other_name) {
        client_doom_ready(a, "the environment got another name");
        send_forget_all(a);
    }
    a->host_can = f->hello_ok.capabilities;
    a->body_max = f->hello_ok.body_max;
    agent_set_clock(a, f->hello_ok.realtime_ns);
    link_event(a, LINK_ACCEPTED);
}

static void handle_reject(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    char reason[AGENT_DETAIL_MAX + 1];
    (void)in;
    wire_view_to_cstr(f->reject.reason, reason, sizeof reason);
    agent_log(a, "the host refuses this agent", reason);
    a->link.backoff_ms = BACKOFF_MAX_MS;
    link_doom(a, "refused");
}

static void handle_clock_is(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    agent_set_clock(a, f->realtime_ns);
    client_clock_is(a, f->tag, f->realtime_ns);
}

static void handle_shutdown(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    char reason[AGENT_DETAIL_MAX + 1];
    a->shutting_down = true;
    client_broadcast(a, in);
    wire_view_to_cstr(f->shutdown.reason, reason, sizeof reason);
    a->ops->shutdown(a->ctx, f->shutdown.grace_ms, reason);
}

static void handle_result(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    if (agent_tag_kind(f->tag) == REQUEST_MONITOR)
        monitor_result(a, in, f);
    else
        service_result(a, in, f);
}

static void handle_ping(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    link_push(a, &(struct agent_frame){.type = AGENT_PONG, .tag = f->tag});
}

typedef void frame_handler(struct agent *a, struct frame_in *in, const struct agent_frame *f);

static frame_handler *const handlers[LINK_STATE_COUNT][AGENT_FRAME_TYPE_COUNT] = {
    [LINK_GREETING] = {[AGENT_HELLO_OK] = handle_hello_ok, [AGENT_REJECT] = handle_reject},
    [LINK_READY] =
        {
            [AGENT_RECEIPT] = send_receipt,
            [AGENT_DELIVER] = deliver_message,
            [AGENT_RESULT] = handle_result,
            [AGENT_CLOCK_IS] = handle_clock_is,
            [AGENT_SHUTDOWN] = handle_shutdown,
            [AGENT_PING] = handle_ping,
            [AGENT_CONFIGURE] = machine_configure,
            [AGENT_OPEN] = machine_open,
            [AGENT_STATS] = machine_stats,
            [AGENT_RESUMED] = machine_resumed,
            [AGENT_GONE] = monitor_gone,
        },
};

static void check_header(struct agent *a)
{
    const struct agent_header *h = &a->link.in.header;
    if (!handlers[a->link.state][h->type] || !machine_can(a, h->type))
        link_doom(a, "the host sent a frame that is out of place");
    else if (h->len_bytes > agent_payload_max(a))
        link_doom(a, "the host sent a frame above its own limit");
}

static void handle_frame(struct agent *a)
{
    struct link *l = &a->link;
    struct agent_frame f;
    struct wire_error error;
    if (agent_frame_read(&l->in.header, frame_in_data(&l->in) + AGENT_HEADER_LEN, &f, &error))
        handlers[l->state][f.type](a, &l->in, &f);
    else
        link_doom(a, error.what);
    frame_in_reset(&a->memory, &l->in);
}

// A message for a program waits while programs do not keep up; everything else always passes.
static bool may_finish(const struct agent *a)
{
    const struct frame_in *in = &a->link.in;
    bool is_deliver = in->have >= AGENT_HEADER_LEN && in->header.type == AGENT_DELIVER;
    return !is_deliver || a->clients_bytes < DELIVER_HIGH;
}

bool agent_host_wants_input(const struct agent *a)
{
    return link_is_open(a) && frame_in_wants(&a->memory, &a->link.in, may_finish(a));
}

size_t agent_host_input(struct agent *a, const void *untrusted_data, size_t n)
{
    const uint8_t *data = untrusted_data;
    size_t total = 0;
    enum intake got = INTAKE_FRAME;
    while (link_is_open(a) && got != INTAKE_MORE && got != INTAKE_WAIT) {
        const char *what;
        size_t taken;
        got = frame_in_take(&a->memory, &a->link.in, may_finish(a), data + total, n - total, &taken, &what);
        total += taken;
        if (got == INTAKE_HEADER)
            check_header(a);
        else if (got == INTAKE_FRAME)
            handle_frame(a);
        else if (got == INTAKE_BAD)
            link_doom(a, what);
    }
    if (a->memory.starved)
        agent_wake_at(a, agent_monotonic(a) + MEMORY_RETRY_MS * NS_PER_MS);
    agent_settle(a);
    return total;
}

void agent_host_up(struct agent *a)
{
    link_event(a, LINK_UP);
    agent_settle(a);
}

void agent_host_down(struct agent *a)
{
    link_event(a, LINK_LOST);
    agent_settle(a);
}

void agent_host_writable(struct agent *a)
{
    a->link.out.blocked = false;
    agent_settle(a);
}
