// What each of the agent's frames does. The agent is not trusted: whatever is in a frame, it acts for its own
// environment.
#include "route/session_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t session_realtime_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void printable(struct wire_view v, char *out, size_t cap)
{
    size_t n = v.len < cap - 1 ? v.len : cap - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = v.data[i] >= ' ' && v.data[i] < 0x7f ? (char)v.data[i] : '?';
    out[n] = '\0';
}

static void handle_hello(struct session *s, const struct agent_frame *f)
{
    if (f->hello.version_min > AGENT_VERSION || f->hello.version_max < AGENT_VERSION) {
        char reason[96];
        snprintf(reason, sizeof reason,
                 "this host speaks version %d of the agent protocol, the agent %u to %u", AGENT_VERSION,
                 f->hello.version_min, f->hello.version_max);
        session_push(s,
                     &(struct agent_frame){.type = AGENT_REJECT, .tag = f->tag, .reject = {view_of(reason)}});
        session_flush(s); // as far as the socket takes it
        session_fail(s, "%s", reason);
        return;
    }
    char software[AGENT_SOFTWARE_MAX + 1];
    printable(f->hello.software, software, sizeof software);
    session_push(s,
                 &(struct agent_frame){.type = AGENT_HELLO_OK,
                                       .tag = f->tag,
                                       .hello_ok = {.version = AGENT_VERSION,
                                                    .capabilities = AGENT_CAN_MONITOR | AGENT_CAN_DEFER,
                                                    .tenant = view_of(s->tenant),
                                                    .name = view_of(s->name),
                                                    .body_max = router_get_config(s->router)->body_max_bytes,
                                                    .realtime_ns = session_realtime_ns()}});
    s->state = SESSION_READY;
    s->capabilities = f->hello.capabilities;
    const struct timeval tv = {.tv_sec = s->config.ping_interval_ms / 1000,
                               .tv_usec = (suseconds_t)(s->config.ping_interval_ms % 1000) * 1000};
    evtimer_add(s->timer, &tv);
    s->cb->on_ready(s->cb_arg, software, f->hello.capabilities);
}

static void push_receipt(struct session *s, uint32_t tag, const struct router_receipt *receipt)
{
    session_push(s, &(struct agent_frame){.type = AGENT_RECEIPT,
                                          .tag = tag,
                                          .receipt = {receipt->code, receipt->id, view_of(receipt->detail)}});
}

static void on_receipt(void *arg, const struct router_receipt *receipt)
{
    struct pending *p = arg;
    struct session *s = p->session;
    if (s) {
        LIST_REMOVE(p, link);
        s->n_pending--;
        push_receipt(s, p->tag, receipt);
        if (s->busy == 0)
            event_active(s->wake, EV_TIMEOUT, 0);
    }
    free(p);
}

static void handle_send(struct session *s, const struct agent_frame *f)
{
    struct pending *p = malloc(sizeof *p);
    if (!p) {
        session_fail(s, "no memory for a message of the agent");
        return;
    }
    *p = (struct pending){.session = s, .tag = f->tag};
    LIST_INSERT_HEAD(&s->pending, p, link);
    s->n_pending++;
    if (endpoint_submit(s->endpoint, &f->envelope, on_receipt, p) == 0)
        return;
    LIST_REMOVE(p, link);
    s->n_pending--;
    free(p);
    session_fail(s, "no memory for a message of the agent");
}

static void handle_ack(struct session *s, const struct agent_frame *f)
{
    endpoint_ack(s->endpoint, &f->id);
}

static void handle_release(struct session *s, const struct agent_frame *f)
{
    endpoint_release(s->endpoint, &f->id, true);
}

static void handle_credit(struct session *s, const struct agent_frame *f)
{
    if (f->credit > AGENT_CREDIT_MAX - s->credit)
        session_fail(s, "the agent gave more credit than the protocol allows");
    else
        s->credit += f->credit;
}

static void push_result(struct session *s, uint32_t tag, enum receipt_code code, const char *detail)
{
    session_push(s, &(struct agent_frame){.type = AGENT_RESULT,
                                          .tag = tag,
                                          .receipt = {.code = code, .detail = view_of(detail)}});
}

static void handle_service(struct session *s, const struct agent_frame *f)
{
    char service[NAME_CAP];
    wire_view_to_cstr(f->service, service, sizeof service); // a valid name: it fits
    enum receipt_code code = f->type == AGENT_REGISTER ? endpoint_register(s->endpoint, service)
                                                       : endpoint_unregister(s->endpoint, service);
    if (f->type == AGENT_REGISTER)
        session_recall(s);
    push_result(s, f->tag, code,
                code == RECEIPT_RATE_LIMITED ? "this environment serves as many services as it may" : "");
}

void session_push_gone(struct session *s, uint32_t tag, const char *address, enum agent_certainty certainty,
                       const char *reason)
{
    char text[AGENT_REASON_MAX + 1]; // it may quote what a guest said
    printable(view_of(reason), text, sizeof text);
    session_push(s, &(struct agent_frame){.type = AGENT_GONE,
                                          .tag = tag,
                                          .gone = {view_of(address), certainty, view_of(text)}});
}

static void handle_monitor(struct session *s, const struct agent_frame *f)
{
    char address[ADDRESS_CAP];
    char id[ID_TEXT_CAP], detail[96] = "";
    struct monitors_answer answer = {.away = false};
    wire_view_to_cstr(f->address, address, sizeof address); // a valid address: it fits
    enum receipt_code code = f->type == AGENT_MONITOR ? endpoint_monitor(s->endpoint, address, &answer)
                                                      : endpoint_unmonitor(s->endpoint, address);
    if (!id_is_zero(&answer.refusal)) {
        id_format(&answer.refusal, id);
        snprintf(detail, sizeof detail, "an operator can explain message %s", id);
    } else if (code == RECEIPT_RATE_LIMITED) {
        snprintf(detail, sizeof detail, "this environment monitors as many others as it may");
    }
    push_result(s, f->tag, code, detail);
    if (answer.away)
        session_push_gone(s, f->tag, address, answer.certainty, answer.reason);
}

static void handle_clock(struct session *s, const struct agent_frame *f)
{
    session_push(s, &(struct agent_frame){
                        .type = AGENT_CLOCK_IS, .tag = f->tag, .realtime_ns = session_realtime_ns()});
}

// Every byte counts as a sign of life; PONG has no other meaning.
static void handle_pong(struct session *s, const struct agent_frame *f)
{
    (void)s;
    (void)f;
}

typedef void frame_handler(struct session *s, const struct agent_frame *f);

// An empty cell is a frame out of place: it ends the session.
static frame_handler *const handlers[SESSION_STATE_COUNT][AGENT_FRAME_TYPE_COUNT] = {
    [SESSION_GREETING] = {[AGENT_HELLO] = handle_hello},
    [SESSION_READY] =
        {
            [AGENT_SEND] = handle_send,
            [AGENT_ACK] = handle_ack,
            [AGENT_RELEASE] = handle_release,
            [AGENT_CREDIT] = handle_credit,
            [AGENT_REGISTER] = handle_service,
            [AGENT_UNREGISTER] = handle_service,
            [AGENT_CLOCK] = handle_clock,
            [AGENT_PONG] = handle_pong,
            [AGENT_RESULT] = session_answered,
            [AGENT_STATS_IS] = session_answered,
            [AGENT_MONITOR] = handle_monitor,
            [AGENT_UNMONITOR] = handle_monitor,
            [AGENT_DEFER] = session_defer,
        },
};

bool session_expects(const struct session *s, enum agent_frame_type type)
{
    return handlers[s->state][type] != NULL;
}

void session_handle(struct session *s, const struct agent_frame *f)
{
    handlers[s->state][f->type](s, f);
}

void session_handle_oversized(struct session *s, const struct agent_header *h, const struct id *id)
{
    struct router_receipt receipt;
    endpoint_refuse_oversized(s->endpoint, id, h->len_bytes, &receipt);
    push_receipt(s, h->tag, &receipt);
}
