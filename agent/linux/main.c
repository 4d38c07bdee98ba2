// envagent: the agent of Linux guests. As a service of the guest's init system, or as PID 1 of a minimal
// image.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "children.h"
#include "common/log.h"
#include "guest.h"
#include "services.h"

#define EXIT_USAGE      2
#define INIT_GRACE_MS   10000 // when a program of the guest asks PID 1 for the end
#define SERVICES_FOLDER "/etc/env/services"

struct options {
    const char *link, *socket;
    struct transport transport;
    struct services_config services;
};

struct envagent {
    struct options options;
    bool is_init;
    int signal_fd;
    struct loop *loop;
    struct hosting *hosting;
    struct services *services;
    struct guest guest;
    struct hosting_guest operations;
};

static int usage(FILE *out, int exit_code)
{
    fprintf(out,
            "usage: envagent [--link vsock|unix:PATH] [--socket PATH] [--services FOLDER]\n"
            "  --link unix:PATH   for tests: the host is at a Unix socket; at the end only envagent ends\n"
            "  --socket PATH      for programs (default: " AGENT_SOCKET_PATH ")\n"
            "  --services FOLDER  handlers (default: " SERVICES_FOLDER ")\n"
            "  --version\n");
    return exit_code;
}

// -1: go on, else the exit code. PID 1 never stops for them: the kernel hands it words that it did not
// understand.
static int parse(int argc, char **argv, bool is_init, struct options *o)
{
    static const struct option options[] = {
        {"link", required_argument, NULL, 'l'},     {"socket", required_argument, NULL, 's'},
        {"services", required_argument, NULL, 'f'}, {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},           {0}};
    *o = (struct options){
        .link = "vsock", .socket = AGENT_SOCKET_PATH, .services = {.folder = SERVICES_FOLDER}};
    opterr = !is_init;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'l')
            o->link = optarg;
        else if (option == 's')
            o->socket = optarg;
        else if (option == 'f')
            o->services.folder = optarg;
        else if (is_init)
            continue;
        else if (option == 'v')
            return puts("envagent " ENVD_VERSION) < 0;
        else
            return usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : EXIT_USAGE);
    }
    o->services.socket = o->socket;
    bool ok = transport_parse(o->link, &o->transport) && optind == argc;
    return ok || is_init ? -1 : usage(stderr, EXIT_USAGE);
}

static unsigned count_programs(void *ctx)
{
    return hosting_count_programs(((struct envagent *)ctx)->hosting);
}

// ---- signals ----

// busybox' conventions for PID 1: poweroff and halt send USR2 and USR1, reboot TERM.
static void on_end_signal(struct envagent *a, int signal_number)
{
    if (!a->is_init)
        loop_stop(a->loop);
    else
        power_end(a->guest.power, signal_number == SIGTERM ? POWER_REBOOT : POWER_OFF, INIT_GRACE_MS);
}

static void on_signal(void *arg, uint32_t events)
{
    struct envagent *a = arg;
    struct signalfd_siginfo info;
    (void)events;
    if (read(a->signal_fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGCHLD)
        children_reap();
    else if (info.ssi_signo == SIGHUP)
        services_start(a->services);
    else
        on_end_signal(a, (int)info.ssi_signo);
}

static int watch_signals(struct envagent *a)
{
    static const int watched[] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++)
        sigaddset(&set, watched[i]);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    a->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return a->signal_fd >= 0 && loop_add(a->loop, a->signal_fd, EPOLLIN, on_signal, a) ? 0 : -errno;
}

// ---- life ----

// Programs are served once the file systems are there. An agent without its socket is still reached by its
// host.
static void serve_programs(void *arg)
{
    struct envagent *a = arg;
    struct err err;
    if (hosting_listen(a->hosting, a->options.socket, &err) < 0)
        log_error(NULL, "%s", err.text);
    else
        services_start(a->services);
}

static enum power_mode mode_of(const struct envagent *a)
{
    if (a->is_init)
        return POWER_INIT;
    return a->options.transport.is_unix ? POWER_PROCESS : POWER_SERVICE;
}

static int set_up(struct envagent *a, struct err *err)
{
    a->loop = loop_new();
    if (!a->loop || watch_signals(a) < 0)
        return err_errno(err, -errno, "make the event loop");
    a->guest.net = net_new(a->loop);
    a->guest.sessions = sessions_new(a->loop, &a->options.transport);
    a->guest.power = power_new(a->loop, mode_of(a), count_programs, a);
    a->services = services_new(a->loop, &a->options.services);
    if (!a->guest.net || !a->guest.sessions || !a->guest.power || !a->services)
        return err_set(err, -ENOMEM, "no memory");
    a->operations = guest_operations(&a->guest);
    return hosting_new(a->loop, &a->options.transport, &a->operations, &a->hosting, err);
}

static void tear_down(struct envagent *a)
{
    services_free(a->services);
    hosting_free(a->hosting);
    sessions_free(a->guest.sessions);
    net_free(a->guest.net);
    power_free(a->guest.power);
    init_free(a->guest.init);
    loop_free(a->loop);
    if (a->signal_fd >= 0)
        close(a->signal_fd);
}

static int run(struct envagent *a)
{
    struct err err;
    if (set_up(a, &err) < 0) {
        log_error(NULL, "start: %s", err.text);
        return 1;
    }
    hosting_start(a->hosting); // before everything else: this is what `ready` waits for
    if (a->is_init)
        a->guest.init = init_new(a->loop, serve_programs, a);
    if (!a->guest.init)
        serve_programs(a);
    int rc = loop_run(a->loop);
    if (rc < 0)
        log_error(NULL, "event loop: %s", strerror(-rc));
    return rc < 0;
}

int main(int argc, char **argv)
{
    static struct envagent agent = {.signal_fd = -1};
    agent.is_init = getpid() == 1;
    log_init("envagent", LOG_LEVEL_INFO);
    if (agent.is_init)
        init_early();
    int exit_code = parse(argc, argv, agent.is_init, &agent.options);
    if (exit_code >= 0)
        return exit_code;
    exit_code = run(&agent);
    if (agent.is_init && !power_is_ending(agent.guest.power))
        log_error(NULL, "PID 1 ends, and with it the guest");
    tear_down(&agent);
    return exit_code;
}
