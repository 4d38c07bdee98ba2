// One thread for all agents of the load: level-triggered epoll, a buffer each way per socket.
#include "agents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/agent.h"

#define OUT_CAP     (256u << 10)
#define IN_CAP      (512u << 10)
#define CREDIT      1024
#define CREDIT_STEP 256
#define SUBJECT     "bench.message"
#define PATIENCE_S  60        // for the first messages
#define REST_NS     20000000u // of a sender whose receiver is not there yet, or full: the receiver is measured

struct agent {
    const struct agents_load *load;
    struct samples *samples;
    const char *to; // NULL: a receiver
    int fd, epoll;
    bool greeted, waits_to_write;
    unsigned in_flight; // of a sender
    uint64_t rests_until_ns;
    unsigned taken;     // of a receiver, since it last gave credit
    bool begun;         // a receiver that has had a message
    unsigned *n_silent; // receivers that have not
    uint32_t tag;
    uint64_t counter;
    uint8_t random[10];
    uint8_t *body;
    uint8_t *out, *in;
    size_t out_len, out_sent, in_len;
};

static bool put(struct agent *a, const struct agent_frame *f)
{
    struct wire_writer w;
    wire_writer_init(&w, a->out + a->out_len, OUT_CAP - a->out_len);
    agent_frame_write(&w, f);
    if (w.overflow)
        return false;
    a->out_len += w.pos;
    return true;
}

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static bool put_message(struct agent *a)
{
    uint64_t now_ns = io_monotonic_ns();
    memcpy(a->body, &now_ns, sizeof now_ns);
    memcpy(a->random + 3, &a->counter, 7); // of which an id keeps every bit
    const struct agent_frame f = {.type = AGENT_SEND,
                                  .tag = a->tag + 1,
                                  .envelope = {.kind = MESSAGE_SEND,
                                               .id = id_make(io_realtime_ms(), a->random),
                                               .to = view_of(a->to),
                                               .subject = view_of(SUBJECT),
                                               .body = {a->body, a->load->body_len}}};
    if (!put(a, &f))
        return false;
    a->tag++;
    a->counter++;
    a->in_flight++;
    return true;
}

static int flush(struct agent *a)
{
    while (a->out_sent < a->out_len) {
        ssize_t n = write(a->fd, a->out + a->out_sent, a->out_len - a->out_sent);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            return -1;
        a->out_sent += (size_t)n;
    }
    memmove(a->out, a->out + a->out_sent, a->out_len - a->out_sent);
    a->out_len -= a->out_sent;
    a->out_sent = 0;
    bool waits = a->out_len > 0;
    if (waits != a->waits_to_write) {
        struct epoll_event e = {.events = EPOLLIN | (waits ? EPOLLOUT : 0u), .data.ptr = a};
        epoll_ctl(a->epoll, EPOLL_CTL_MOD, a->fd, &e);
        a->waits_to_write = waits;
    }
    return 0;
}

static int fill(struct agent *a)
{
    if (!a->greeted || !a->to)
        return flush(a);
    if (a->rests_until_ns > io_monotonic_ns())
        return flush(a);
    while (a->in_flight < a->load->window && a->out_len < OUT_CAP / 2 && put_message(a))
        continue;
    return flush(a);
}

// The measurement begins when every receiver has had its first message: queues may still be in the making.
static void note_arrival(struct agent *a, uint64_t sent_ns)
{
    if (!a->begun && --*a->n_silent == 0)
        samples_begin(a->samples, a->load->seconds);
    a->begun = true;
    samples_add(a->samples, sent_ns, io_monotonic_ns());
}

static bool is_for_later(enum receipt_code code)
{
    return code == RECEIPT_MAILBOX_FULL || code == RECEIPT_NO_SUCH_ENVIRONMENT;
}

static int handle(struct agent *a, const struct agent_frame *f)
{
    uint64_t sent_ns;
    switch (f->type) {
    case AGENT_HELLO_OK:
        a->greeted = true;
        return a->to || put(a, &(struct agent_frame){.type = AGENT_CREDIT, .credit = CREDIT}) ? 0 : -1;
    case AGENT_RECEIPT:
        if (is_for_later(f->receipt.code))
            a->rests_until_ns = io_monotonic_ns() + REST_NS;
        if ((f->receipt.code == RECEIPT_ACCEPTED || is_for_later(f->receipt.code)) && a->in_flight-- > 0)
            return 0;
        fprintf(stderr, "a message was refused: %s %.*s\n", receipt_code_name(f->receipt.code),
                (int)f->receipt.detail.len, (const char *)f->receipt.detail.data);
        return -1;
    case AGENT_DELIVER:
        memcpy(&sent_ns, f->envelope.body.data, sizeof sent_ns);
        note_arrival(a, sent_ns);
        if (!put(a, &(struct agent_frame){.type = AGENT_ACK, .id = f->envelope.id}))
            return -1;
        if (++a->taken < CREDIT_STEP)
            return 0;
        a->taken = 0;
        return put(a, &(struct agent_frame){.type = AGENT_CREDIT, .credit = CREDIT_STEP}) ? 0 : -1;
    case AGENT_PING:
        return put(a, &(struct agent_frame){.type = AGENT_PONG, .tag = f->tag}) ? 0 : -1;
    default:
        fprintf(stderr, "the host sent %s\n", agent_frame_type_name(f->type));
        return -1;
    }
}

static int serve(struct agent *a)
{
    ssize_t n = read(a->fd, a->in + a->in_len, IN_CAP - a->in_len);
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? 0 : -1;
    a->in_len += (size_t)n;
    size_t used = 0;
    struct agent_header h;
    struct agent_frame f;
    struct wire_error error;
    while (a->in_len - used >= AGENT_HEADER_LEN && !agent_header_read(a->in + used, &h) &&
           a->in_len - used >= AGENT_HEADER_LEN + h.len_bytes) {
        // An answer must have room: what waits is written first.
        if (OUT_CAP - a->out_len < 256 && flush(a) < 0)
            return -1;
        if (OUT_CAP - a->out_len < 256)
            break;
        if (!agent_frame_read(&h, a->in + used + AGENT_HEADER_LEN, &f, &error) || handle(a, &f) < 0)
            return -1;
        used += AGENT_HEADER_LEN + h.len_bytes;
    }
    memmove(a->in, a->in + used, a->in_len - used);
    a->in_len -= used;
    return 0;
}

static int begin(struct agent *a, const struct agents_load *load, struct samples *samples, int epoll, int fd,
                 const char *to)
{
    *a = (struct agent){
        .load = load, .samples = samples, .fd = fd, .epoll = epoll, .to = to, .n_silent = a->n_silent};
    a->out = malloc(OUT_CAP);
    a->in = malloc(IN_CAP);
    a->body = calloc(1, load->body_len);
    if (!a->out || !a->in || !a->body || getrandom(a->random, sizeof a->random, 0) < 0)
        return -1;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = a};
    const struct agent_frame hello = {
        .type = AGENT_HELLO, .tag = 1, .hello = {AGENT_VERSION, AGENT_VERSION, 0, view_of("bench")}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0 || !put(a, &hello) ? -1 : flush(a);
}

static int wake_rested(struct agent *agents, unsigned n)
{
    uint64_t now_ns = io_monotonic_ns();
    for (unsigned i = 0; i < n; i++) {
        if (agents[i].rests_until_ns == 0 || agents[i].rests_until_ns > now_ns)
            continue;
        agents[i].rests_until_ns = 0;
        if (fill(&agents[i]) < 0)
            return -1;
    }
    return 0;
}

static int run(int epoll, struct agent *agents, unsigned n_agents, struct samples *samples)
{
    struct epoll_event events[128];
    while (io_monotonic_ns() < samples->end_ns) {
        int n = epoll_wait(epoll, events, 128, 20);
        for (int i = 0; i < n; i++) {
            struct agent *a = events[i].data.ptr;
            if (serve(a) < 0 || fill(a) < 0) {
                fprintf(stderr, "a %s's connection ended: %s\n", a->to ? "sender" : "receiver",
                        strerror(errno));
                return -1;
            }
        }
        if (wake_rested(agents, n_agents) < 0)
            return -1;
    }
    return 0;
}

static int complain(unsigned n_silent)
{
    fprintf(stderr, "%u receivers had no message within %d s\n", n_silent, PATIENCE_S);
    return -1;
}

int agents_run(const struct agents_load *load, struct samples *ret)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC), rc = epoll < 0 ? -1 : 0;
    struct agent *agents = calloc(load->n_pairs * 2, sizeof *agents);
    unsigned n_silent = load->receivers ? load->n_pairs : 0;
    samples_begin(ret, load->seconds + (n_silent > 0 ? PATIENCE_S : 0));
    for (unsigned i = 0; agents && rc == 0 && i < load->n_pairs; i++) {
        agents[2 * i].n_silent = &n_silent;
        if (load->receivers)
            rc = begin(&agents[2 * i], load, ret, epoll, load->receivers[i], NULL);
        if (rc == 0 && load->senders)
            rc = begin(&agents[2 * i + 1], load, ret, epoll, load->senders[i], load->to[i]);
    }
    if (rc == 0 && agents)
        rc = run(epoll, agents, load->n_pairs * 2, ret);
    if (rc == 0 && n_silent > 0)
        rc = complain(n_silent);
    for (unsigned i = 0; agents && i < load->n_pairs * 2; i++) {
        free(agents[i].out);
        free(agents[i].in);
        free(agents[i].body);
    }
    free(agents);
    close(epoll);
    return rc;
}
