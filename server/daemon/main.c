// envd's boot sequence, its event loop, and the way down. Knows every part and none of their work.
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "common/io.h"
#include "common/log.h"
#include "config.h"
#include "privilege.h"
#include "remote/remote.h"
#include "state_folder.h"

#define STOP_ALL_MS    20000
#define RESTART_MIN_MS 200
#define STILL_TIMEOUT_MS                                                                                     \
    15000 // for envvm to stop or let go a guest: milliseconds, but on a host that is overloaded

struct daemon {
    struct config config;
    int kernel_fd, lock_fd;
    char priv_socket[PATH_MAX], log_folder[PATH_MAX];
    struct event_base *base;
    struct store *store;
    struct mutator *mutator;
    struct images *images;
    struct mediator *mediator;
    struct router *router;
    char broker_password[256];
    struct remote *remote; // NULL: there is no broker
    struct manager *manager;
    struct api *api;
    struct http_server *http;
    struct event *on_term, *on_int;
    bool stopping;
};

// --- the boot sequence: each step owns one failure ---

// Before root is given up: the kernel may lie where the daemon's user cannot reach.
static int open_kernel(struct daemon *d, struct err *err)
{
    d->kernel_fd = open(d->config.kernel, O_RDONLY | O_CLOEXEC);
    return d->kernel_fd < 0
               ? err_errno(err, -errno, "open the cell kernel %s (see --cell-kernel)", d->config.kernel)
               : 0;
}

// Likewise: only root may need to read it.
static int read_broker_password(struct daemon *d, struct err *err)
{
    const char *path = d->config.broker.password_file;
    if (path[0] == '\0')
        return 0;
    ssize_t n = io_read_file(path, d->broker_password, sizeof d->broker_password - 1);
    if (n < 0)
        return err_errno(err, (int)n, "read the broker's password from %s", path);
    d->broker_password[n] = '\0';
    d->broker_password[strcspn(d->broker_password, "\r\n")] = '\0';
    return 0;
}

// Every environment costs three descriptors, every client one.
static int raise_limits(struct daemon *d, struct err *err)
{
    struct rlimit files;
    (void)d;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return err_errno(err, -errno, "read the limit of descriptors");
    files.rlim_cur = files.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &files) < 0 ? err_errno(err, -errno, "raise the limit of descriptors")
                                                : 0;
}

// The state folder, when it is still to be made, must belong to the user that envd becomes.
static int make_state(struct daemon *d, struct err *err)
{
    const struct config *c = &d->config;
    if (geteuid() != 0 || !c->has_user || mkdir(c->state, 0700) < 0)
        return 0; // it is there, or the lock says what is wrong with it
    return chown(c->state, c->uid, c->gid) < 0
               ? err_errno(err, -errno, "give %s to user %u", c->state, (unsigned)c->uid)
               : 0;
}

static int drop_root(struct daemon *d, struct err *err)
{
    return privilege_drop(&d->config, err);
}

static int lock_state(struct daemon *d, struct err *err)
{
    d->lock_fd = state_folder_lock(d->config.state, err);
    return d->lock_fd < 0 ? d->lock_fd : 0;
}

static int make_loop(struct daemon *d, struct err *err)
{
    signal(SIGPIPE, SIG_IGN); // a peer that goes away is an error of its write
    signal(SIGXFSZ, SIG_IGN); // and so is a limit on file sizes
    d->base = event_base_new();
    return d->base ? 0 : err_set(err, -ENOMEM, "no memory for the event loop");
}

static int open_store(struct daemon *d, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/envd.db", d->config.state);
    struct store_sqlite_config config = {.path = path};
    int rc = store_open_sqlite(d->base, &config, &d->store, err);
    if (rc < 0)
        return rc;
    d->mutator = mutator_new(d->base, d->store);
    return d->mutator ? 0 : err_set(err, -ENOMEM, "no memory for changes of the store");
}

static int open_images(struct daemon *d, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/images", d->config.state);
    snprintf(d->log_folder, sizeof d->log_folder, "%s/logs", d->config.state);
    return images_new(d->base, path, &d->images, err);
}

static bool describe(void *arg, const char *tenant, const char *name, struct router_identity *ret)
{
    struct daemon *d = arg;
    return manager_describe(d->manager, tenant, name, ret);
}

static bool away(void *arg, const char *tenant, const char *name, char *ret_reason, size_t cap)
{
    struct daemon *d = arg;
    return manager_away(d->manager, tenant, name, ret_reason, cap);
}

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

static int make_router(struct daemon *d, struct err *err)
{
    static const struct router_ops ops = {describe, realtime_ms, monotonic_ns, away};
    struct router_config config;
    router_config_default(&config);
    config.attempts_max = d->config.attempts_max;
    config.dead_max = d->config.dead_letters_max;
    d->mediator = mediator_new(0, 0);
    d->router = d->mediator ? router_new(d->base, &config, &ops, d, d->mediator) : NULL;
    return d->router ? 0 : err_set(err, -ENOMEM, "no memory for the router");
}

static enum broker_queue_type queue_type(const char *name)
{
    return strcmp(name, "classic") == 0  ? BROKER_QUEUE_CLASSIC
           : strcmp(name, "quorum") == 0 ? BROKER_QUEUE_QUORUM
                                         : BROKER_QUEUE_AUTO;
}

// Before the manager tells of environments.
static int link_hosts(struct daemon *d, struct err *err)
{
    const struct config *c = &d->config;
    char user[NAME_CAP + sizeof AMQP_USER_HOST];
    struct remote_config config = {.host = c->host_name};
    if (c->broker.host[0] == '\0')
        return 0;
    snprintf(user, sizeof user, AMQP_USER_HOST "%s", c->host_name);
    const struct broker_config broker = {.host = c->broker.host,
                                         .port = c->broker.port,
                                         .vhost = c->broker.vhost[0] ? c->broker.vhost : NULL,
                                         .user = user,
                                         .password = d->broker_password[0] ? d->broker_password : NULL,
                                         .tls = c->broker.tls,
                                         .ca = c->broker.ca[0] ? c->broker.ca : NULL,
                                         .cert = c->broker.cert[0] ? c->broker.cert : NULL,
                                         .key = c->broker.key[0] ? c->broker.key : NULL,
                                         .name = user,
                                         .queue_type = queue_type(c->broker.queues)};
    config.broker = &broker;
    int rc = remote_epoch(c->state, io_realtime_ms(), &config.epoch, err);
    return rc < 0 ? rc : remote_new(d->base, &config, d->router, d->mediator, &d->remote, err);
}

// Before any environment is known: what it holds is handed to each as it comes.
static int open_journal(struct daemon *d, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/journal", d->config.state);
    const struct journal_config config = {
        .folder = path,
        .segment_bytes = (uint64_t)d->config.journal_segment_kib << 10,
        .bytes_max = (uint64_t)d->config.journal_mib_max << 20,
    };
    return router_open_journal(d->router, &config, err);
}

static int start_manager(struct daemon *d, struct err *err)
{
    const struct config *c = &d->config;
    snprintf(d->priv_socket, sizeof d->priv_socket, "%s/priv.sock", c->run);
    struct manager_config config = {.priv_socket = d->priv_socket,
                                    .kernel_fd = d->kernel_fd,
                                    .log_folder = d->log_folder,
                                    .pool = c->pool,
                                    .log_capacity = c->log_kib << 10,
                                    .log_bytes_per_s = c->log_kib_per_s << 10,
                                    .log_burst_bytes = c->log_kib << 10,
                                    .state_folder = c->state,
                                    .boot_timeout_ms = c->boot_timeout_ms,
                                    .linux_boot_timeout_ms = c->linux_boot_timeout_ms,
                                    .restart_min_ms = RESTART_MIN_MS,
                                    .still_timeout_ms = STILL_TIMEOUT_MS};
    struct manager_deps deps = {d->base, d->store, d->mutator, d->images, d->router};
    int rc = manager_new(&config, &deps, &d->manager, err);
    if (rc == 0)
        router_settle(d->router);
    return rc;
}

static int start_api(struct daemon *d, struct err *err)
{
    const struct config *c = &d->config;
    struct api_deps deps = {.base = d->base,
                            .store = d->store,
                            .mutator = d->mutator,
                            .manager = d->manager,
                            .images = d->images,
                            .router = d->router,
                            .mediator = d->mediator,
                            .remote = d->remote,
                            .host = c->host_name,
                            .pool = c->pool,
                            .network = c->network,
                            .log_folder = d->log_folder,
                            .image_bytes_max = (uint64_t)c->image_mib_max << 20,
                            .admins = c->admins,
                            .n_admins = c->n_admins};
    return api_new(&deps, &d->api, err);
}

static int listen_http(struct daemon *d, struct err *err)
{
    char path[PATH_MAX];
    struct http_server_config config = {.base = d->base, .arg = d->api, .admit = api_admit};
    config.routes = api_routes(&config.n_routes);
    int rc = http_server_new(&config, &d->http, err);
    if (rc < 0)
        return rc;
    api_set_server(d->api, d->http);
    snprintf(path, sizeof path, "%s/envd.sock", d->config.run);
    // Everybody may connect: who is not an administrator is told so, by name of the uid.
    return http_server_listen_unix(d->http, path, 0666, (gid_t)-1, err);
}

// --- the way down ---

static void on_all_stopped(void *arg)
{
    struct daemon *d = arg;
    event_base_loopbreak(d->base);
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
    struct daemon *d = arg;
    (void)what;
    log_info(NULL, "signal %d: stopping%s", (int)signo,
             d->config.stop_environments ? ", environments first" : "; environments go on running");
    if (d->config.stop_environments && !d->stopping)
        manager_stop_all(d->manager, STOP_ALL_MS, on_all_stopped, d);
    else
        event_base_loopbreak(d->base);
    d->stopping = true;
}

static int catch_signals(struct daemon *d, struct err *err)
{
    d->on_term = evsignal_new(d->base, SIGTERM, on_signal, d);
    d->on_int = evsignal_new(d->base, SIGINT, on_signal, d);
    if (!d->on_term || !d->on_int || event_add(d->on_term, NULL) < 0 || event_add(d->on_int, NULL) < 0)
        return err_set(err, -ENOMEM, "no memory for signals");
    return 0;
}

// Parts let go of each other before the store ends, whose last callbacks still find them.
static void shut_down(struct daemon *d)
{
    remote_stop(d->remote); // senders hear what became of their messages while they are there
    if (d->router)
        router_flush(d->router); // whoever waits for a receipt is still there
    if (d->http)
        http_server_free(d->http);
    if (d->api)
        api_stop(d->api);
    if (d->manager)
        manager_stop(d->manager);
    if (d->mutator)
        mutator_stop(d->mutator);
    store_close(d->store);
    images_free(d->images);
    manager_free(d->manager);
    api_free(d->api);
    mutator_free(d->mutator);
    if (d->router)
        router_free(d->router);
    remote_free(d->remote);
    mediator_free(d->mediator);
    if (d->on_term)
        event_free(d->on_term);
    if (d->on_int)
        event_free(d->on_int);
    if (d->base)
        event_base_free(d->base);
    if (d->kernel_fd >= 0)
        close(d->kernel_fd);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
}

static int run(struct daemon *d, struct err *err)
{
    static int (*const steps[])(struct daemon * d, struct err * err) = {
        open_kernel, read_broker_password, raise_limits, make_state,   drop_root,  lock_state,    make_loop,
        open_store,  open_images,          make_router,  open_journal, link_hosts, start_manager, start_api,
        listen_http, catch_signals,
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int rc = steps[i](d, err);
        if (rc < 0)
            return rc;
    }
    log_info(NULL, "envd %s serves %s/envd.sock, network %s", ENVD_VERSION, d->config.run, d->config.network);
    return event_base_dispatch(d->base) < 0 ? err_set(err, -EIO, "the event loop failed") : 0;
}

int main(int argc, char **argv)
{
    struct daemon d = {.kernel_fd = -1, .lock_fd = -1};
    struct err err;
    log_init("envd", LOG_LEVEL_INFO);
    int rc = config_read(argc, argv, &d.config, &err);
    if (rc == CONFIG_HELP || rc == CONFIG_VERSION) {
        fputs(rc == CONFIG_HELP ? config_help : "envd " ENVD_VERSION "\n", stdout);
        return EXIT_SUCCESS;
    }
    if (rc == CONFIG_RUN) {
        log_init("envd", d.config.log_level);
        rc = run(&d, &err);
    }
    if (rc < 0)
        log_error(NULL, "%s", err.text);
    shut_down(&d);
    return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
