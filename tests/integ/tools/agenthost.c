// The host's end of one agent link, for tests without envd: stdin is the stream. Accepts every message; one
// to "echo" that is a call gets its body back as the reply, one to "end" makes it ask for the end, any other
// comes back to the sender as a delivery. Waits for its peer: a test tool that does not read harms itself
// only.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/agent.h"

#define QUEUE_MAX 1024

struct queued {
    uint8_t *data;
    size_t len;
};

static struct queued queue[QUEUE_MAX];
static size_t n_queued;
static uint64_t credit;

static void die(const char *what)
{
    fprintf(stderr, "agenthost: %s\n", what);
    exit(1);
}

static void send_frame(const struct agent_frame *f)
{
    size_t n = agent_frame_size(f);
    uint8_t *data = malloc(n);
    struct wire_writer w;
    wire_writer_init(&w, data, n);
    agent_frame_write(&w, f);
    if (w.overflow || io_write_all(STDIN_FILENO, data, n) < 0)
        die("write");
    free(data);
}

static struct wire_view text(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static void deliver_queued(void)
{
    while (credit && n_queued) {
        if (io_write_all(STDIN_FILENO, queue[0].data, queue[0].len) < 0)
            die("write");
        free(queue[0].data);
        memmove(queue, queue + 1, --n_queued * sizeof queue[0]);
        credit--;
    }
}

// Queues a delivery of the envelope as it came, from this environment to itself.
static void deliver_back(struct envelope e)
{
    struct agent_frame f = {.type = AGENT_DELIVER, .envelope = e};
    f.envelope.from = text("test/cell");
    size_t n = agent_frame_size(&f);
    struct wire_writer w;
    if (n_queued == QUEUE_MAX)
        die("queue full");
    queue[n_queued] = (struct queued){malloc(n), n};
    wire_writer_init(&w, queue[n_queued++].data, n);
    agent_frame_write(&w, &f);
    deliver_queued();
}

static void reply_to(const struct envelope *call)
{
    struct agent_frame f = {.type = AGENT_DELIVER, .envelope = *call};
    f.envelope.kind = MESSAGE_REPLY;
    f.envelope.correlation = call->id;
    memset(f.envelope.id.bytes, 0x77, ID_LEN);
    f.envelope.from = text("test/echo");
    f.envelope.to = text("test/cell");
    send_frame(&f);
}

static void handle_send(const struct agent_frame *f)
{
    const struct envelope *e = &f->envelope;
    send_frame(&(struct agent_frame){.type = AGENT_RECEIPT, .tag = f->tag, .receipt = {.id = e->id}});
    if (wire_view_equals(e->to, "echo") && e->kind == MESSAGE_CALL)
        reply_to(e);
    else if (wire_view_equals(e->to, "end"))
        send_frame(
            &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {300, text("the test says so")}});
    else
        deliver_back(*e);
}

static void handle(const struct agent_frame *f)
{
    switch (f->type) {
    case AGENT_HELLO:
        fprintf(stderr, "agenthost: hello from %.*s\n", (int)f->hello.software.len,
                (const char *)f->hello.software.data);
        send_frame(&(struct agent_frame){.type = AGENT_HELLO_OK,
                                         .tag = f->tag,
                                         .hello_ok = {AGENT_VERSION, 0, text("test"), text("cell"), 4u << 20,
                                                      io_realtime_ms() * 1000000}});
        send_frame(&(struct agent_frame){.type = AGENT_PING, .tag = 7});
        break;
    case AGENT_SEND:
        handle_send(f);
        break;
    case AGENT_CREDIT:
        credit += f->credit;
        deliver_queued();
        break;
    case AGENT_REGISTER:
    case AGENT_UNREGISTER:
        send_frame(&(struct agent_frame){.type = AGENT_RESULT, .tag = f->tag});
        break;
    case AGENT_CLOCK:
        send_frame(&(struct agent_frame){
            .type = AGENT_CLOCK_IS, .tag = f->tag, .realtime_ns = io_realtime_ms() * 1000000});
        break;
    case AGENT_ACK:
    case AGENT_RELEASE:
    case AGENT_PONG:
        fprintf(stderr, "agenthost: %s\n", agent_frame_type_name(f->type));
        break;
    default:
        die("a frame out of direction");
    }
}

static void read_exactly(uint8_t *out, size_t n)
{
    while (n) {
        ssize_t got = read(STDIN_FILENO, out, n);
        if (got <= 0)
            exit(0); // the cell is gone
        out += got;
        n -= (size_t)got;
    }
}

int main(void)
{
    for (;;) {
        uint8_t raw[AGENT_HEADER_LEN];
        struct agent_header h;
        struct agent_frame f;
        struct wire_error wrong = {0};
        read_exactly(raw, sizeof raw);
        const char *bad = agent_header_read(raw, &h);
        if (bad)
            die(bad);
        uint8_t *payload = malloc(h.len_bytes + 1);
        read_exactly(payload, h.len_bytes);
        if (!agent_frame_read(&h, payload, &f, &wrong))
            die(wrong.what);
        handle(&f);
        free(payload);
    }
}
