// Fuzzes the host's side of the agent protocol with an agent's bytes. The first input byte's lowest bit says
// whether a HELLO comes before the rest, the others how the bytes are cut into pieces. Whatever comes, the
// session serves it or ends, and its output stays within its cap and one frame.
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "journal_folder.h"
#include "proto/agent.h"
#include "route/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX 4096

struct fuzz {
    struct event_base *base;
    struct mediator *mediator;
    struct router *router;
    struct session *session;
};

static uint64_t realtime_ms(void *arg)
{
    (void)arg;
    return 1700000000000;
}

static uint64_t monotonic_ns(void *arg)
{
    (void)arg;
    return 1000000000;
}

static void on_ready(void *arg, const char *software, uint32_t capabilities)
{
    (void)arg;
    (void)capabilities;
    if (strlen(software) > AGENT_SOFTWARE_MAX)
        abort();
}

static void on_closed(void *arg, const char *reason)
{
    ((struct fuzz *)arg)->session = NULL;
    if (reason[0] == '\0')
        abort();
}

static const struct router_ops ops = {.realtime_ms = realtime_ms, .monotonic_ns = monotonic_ns};
static const struct session_cb callbacks = {on_ready, on_closed};

static void allow_all(struct mediator *m)
{
    static struct policy *policy;
    const struct policy_source source = {"main", "* * * allow", 11};
    if (!policy && policy_new(&source, 1, 1, &policy, NULL, NULL) < 0)
        abort();
    mediator_set_policy(m, policy);
}

static char folder[JOURNAL_FOLDER_CAP];

static void start(struct fuzz *f, int fd)
{
    static struct event_base *base;
    if (!base)
        base = event_base_new();
    struct router_config config;
    router_config_default(&config);
    config.body_max_bytes = 512;
    config.mailbox_messages_max = 8;
    config.dedup_window = 12;
    struct session_config session_config;
    session_config_default(&session_config);
    session_config.out_max_bytes = OUT_MAX;
    session_config.frames_per_round = 4;
    *f = (struct fuzz){.base = base, .mediator = mediator_new(16, 16)};
    allow_all(f->mediator);
    f->router = router_new(f->base, &config, &ops, NULL, f->mediator);
    if (!f->router || !journal_folder_open(f->router, folder) ||
        router_environment_added(f->router, "acme", "web") < 0 ||
        router_environment_added(f->router, "acme", "db") < 0 ||
        session_new(f->router, f->base, "acme", "web", fd, &session_config, &callbacks, f, &f->session,
                    NULL) < 0)
        abort();
}

static void turn(struct fuzz *f, int fd)
{
    static uint8_t sink[1 << 16];
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    router_flush(f->router);
    if (f->session) {
        struct session_stats stats;
        session_get_stats(f->session, &stats);
        if (stats.out_queued_bytes > OUT_MAX + AGENT_FRAME_MAX)
            abort();
    }
    while (recv(fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
        continue;
}

static void greet(struct fuzz *f, int fd)
{
    uint8_t raw[64];
    struct wire_writer w;
    wire_writer_init(&w, raw, sizeof raw);
    agent_frame_write(
        &w, &(struct agent_frame){.type = AGENT_HELLO, .hello = {.version_min = 1, .version_max = 1}});
    if (write(fd, raw, w.pos) != (ssize_t)w.pos)
        abort();
    turn(f, fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f;
    int pair[2];
    if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 0;
    start(&f, pair[1]);
    if (data[0] & 1)
        greet(&f, pair[0]);
    size_t piece = (size_t)(data[0] >> 1) * 8 + 1;
    for (size_t at = 1; at < size && f.session;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t written = send(pair[0], data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (written > 0)
            at += (size_t)written;
        turn(&f, pair[0]);
    }
    close(pair[0]);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    if (f.session)
        session_close(f.session);
    router_free(f.router);
    mediator_free(f.mediator);
    journal_folder_remove(folder);
    return 0;
}
