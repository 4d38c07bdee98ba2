// Measures messages through envd's router, sessions, journal and link to a broker. A process of its own is
// the agents of all pairs, on the sockets that a virtual machine's keeper would hand over; this one is the
// host: so it is measured as a broker's bare clients are (bench_amqp), without a virtual machine between.
// Prints what samples_print() prints.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agents.h"
#include "common/io.h"
#include "remote/remote.h"
#include "route/session.h"

#define PAIRS_MAX 100

static const char policy_text[] = "bench.message */* */* allow\n";

static uint64_t realtime_ms(void *arg)
{
    (void)arg;
    return io_realtime_ms();
}

static uint64_t monotonic_ns(void *arg)
{
    (void)arg;
    return io_monotonic_ns();
}

static const struct router_ops router_ops = {.realtime_ms = realtime_ms, .monotonic_ns = monotonic_ns};

static void on_ready(void *arg, const char *software, uint32_t capabilities)
{
    (void)arg;
    (void)software;
    (void)capabilities;
}

static void on_closed(void *arg, const char *reason)
{
    fprintf(stderr, "%s: %s\n", (const char *)arg, reason);
    exit(1);
}

static const struct session_cb session_cb = {on_ready, on_closed};

struct host {
    struct event_base *base;
    struct mediator *mediator;
    struct router *router;
    struct remote *remote;
    // As asked for.
    unsigned n_mailboxes;
    const char *folder, *broker, *password, *queues, *name;
    const char *tenant; // one for each type of queue: a queue keeps the type that it was declared with
    bool sends, receives;
};

static const char usage[] =
    "usage: bench_message -p PAIRS -b BODY-BYTES -w WINDOW -t SECONDS -f FOLDER [-m MAILBOXES]\n"
    "           [-B HOST:PORT -P PASSWORD -q classic|quorum -H HOST-NAME [-r send|receive]]\n"
    "  -f  where the journal is, empty at first\n"
    "  -m  environments in all (two a pair)\n"
    "  -B  the mailboxes are of class queue, at that broker, with the user envd.HOST-NAME\n"
    "  -r  only one end of each pair is at this host\n";

static int permit(struct host *h)
{
    const struct policy_source source = {"bench", policy_text, sizeof policy_text - 1};
    struct policy *policy;
    struct err err = {""};
    if (policy_new(&source, 1, 1, &policy, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    mediator_set_policy(h->mediator, policy);
    policy_unref(policy);
    return 0;
}

static int link_to_broker(struct host *h)
{
    char where[128], user[64];
    snprintf(where, sizeof where, "%s", h->broker);
    snprintf(user, sizeof user, AMQP_USER_HOST "%s", h->name);
    char *colon = strrchr(where, ':');
    if (!colon)
        return -1;
    *colon = '\0';
    const struct broker_config broker = {
        .host = where,
        .port = (uint16_t)atoi(colon + 1),
        .user = user,
        .password = h->password,
        .queue_type = strcmp(h->queues, "quorum") == 0 ? BROKER_QUEUE_QUORUM : BROKER_QUEUE_CLASSIC};
    const struct remote_config config = {.broker = &broker, .host = h->name, .epoch = io_realtime_ms()};
    struct err err = {""};
    int rc = remote_new(h->base, &config, h->router, h->mediator, &h->remote, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    return rc;
}

// Defined here: the sending ones are even, the receiving ones odd.
static bool is_here(const struct host *h, unsigned i)
{
    return i % 2 == 0 ? h->sends : h->receives;
}

static int make_host(struct host *h)
{
    struct router_config config;
    struct err err = {""};
    router_config_default(&config);
    config.mailbox_messages_max = 65536;
    config.mailbox_bytes_max = 64u << 20;
    config.rate_per_s = 0;
    h->base = event_base_new();
    h->mediator = mediator_new(0, 0);
    h->router = h->base && h->mediator ? router_new(h->base, &config, &router_ops, NULL, h->mediator) : NULL;
    if (!h->router || permit(h) < 0)
        return -1;
    if (router_open_journal(h->router, &(struct journal_config){.folder = h->folder}, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    if (h->broker && link_to_broker(h) < 0)
        return -1;
    for (unsigned i = 0; i < h->n_mailboxes; i++) {
        char name[NAME_CAP];
        snprintf(name, sizeof name, "e%u", i);
        if (is_here(h, i) &&
            (router_environment_added(h->router, h->tenant, name) < 0 ||
             router_environment_mailbox(h->router, h->tenant, name, ROUTER_MAILBOX_DEFAULT) < 0))
            return -1;
    }
    router_settle(h->router);
    return 0;
}

static int open_session(struct host *h, const char *name, int *ret_agents_end)
{
    int pair[2];
    struct session *session;
    struct err err = {""};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -1;
    *ret_agents_end = pair[0];
    int rc = session_new(h->router, h->base, h->tenant, name, pair[1], NULL, &session_cb, (void *)name,
                         &session, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    return rc;
}

static void on_load_ended(evutil_socket_t signal_number, short what, void *arg)
{
    (void)signal_number;
    (void)what;
    event_base_loopbreak(arg);
}

static int run_load(const struct agents_load *load)
{
    static struct samples samples;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (agents_run(load, &samples) < 0)
        return 1;
    samples_print(&samples, stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int run(struct host *h, struct agents_load *load)
{
    static char names[2 * PAIRS_MAX][NAME_CAP];
    static const char *to[PAIRS_MAX];
    static int senders[PAIRS_MAX], receivers[PAIRS_MAX];
    int status = 1;
    struct event *ended = evsignal_new(h->base, SIGCHLD, on_load_ended, h->base);
    for (unsigned i = 0; i < load->n_pairs; i++) {
        snprintf(names[2 * i], NAME_CAP, "e%u", 2 * i);
        snprintf(names[2 * i + 1], NAME_CAP, "e%u", 2 * i + 1);
        to[i] = names[2 * i + 1];
        if ((h->sends && open_session(h, names[2 * i], &senders[i]) < 0) ||
            (h->receives && open_session(h, to[i], &receivers[i]) < 0))
            return 1;
    }
    load->senders = h->sends ? senders : NULL;
    load->receivers = h->receives ? receivers : NULL;
    load->to = to;
    evsignal_add(ended, NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run_load(load));
    event_base_dispatch(h->base);
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static bool read_options(int argc, char **argv, struct host *h, struct agents_load *load)
{
    const char *role = NULL;
    for (int option; (option = getopt(argc, argv, "p:b:w:t:f:m:B:P:q:H:r:")) != -1;) {
        switch (option) {
        case 'p':
            load->n_pairs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'b':
            load->body_len = strtoul(optarg, NULL, 10);
            break;
        case 'w':
            load->window = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            load->seconds = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            h->n_mailboxes = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            h->folder = optarg;
            break;
        case 'B':
            h->broker = optarg;
            break;
        case 'P':
            h->password = optarg;
            break;
        case 'q':
            h->queues = optarg;
            break;
        case 'H':
            h->name = optarg;
            break;
        case 'r':
            role = optarg;
            break;
        default:
            return false;
        }
    }
    h->tenant = h->queues ? h->queues : "local";
    h->sends = !role || strcmp(role, "send") == 0;
    h->receives = !role || strcmp(role, "receive") == 0;
    if (h->n_mailboxes < 2 * load->n_pairs)
        h->n_mailboxes = 2 * load->n_pairs;
    return load->n_pairs > 0 && load->n_pairs <= PAIRS_MAX && load->body_len >= 8 && load->window > 0 &&
           load->seconds > 0 && h->folder && (!h->broker || (h->password && h->queues && h->name)) &&
           (h->sends || h->receives);
}

int main(int argc, char **argv)
{
    struct host host = {0};
    struct agents_load load = {0};
    if (!read_options(argc, argv, &host, &load)) {
        fputs(usage, stderr);
        return 2;
    }
    return make_host(&host) < 0 ? 1 : run(&host, &load); // the process ends: nothing is taken down
}
