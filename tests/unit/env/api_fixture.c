// Owns the daemon in one process, and the client, of the API's tests.
#include "api_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"

#define WAIT_NS   30000000000ull // a machine may be busy with much else
#define REPLY_CAP (1u << 20)

static struct reply last;
static char stream_text[REPLY_CAP];

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

static void start_parts(struct daemon *d)
{
    static const struct router_ops ops = {describe, realtime_ms, monotonic_ns, away};
    struct router_config router_config;
    char path[96];
    struct err err;
    snprintf(path, sizeof path, "%s/images", d->f->dir);
    assert_int_equal(images_new(d->f->base, path, &d->images, &err), 0);
    router_config_default(&router_config);
    d->mediator = mediator_new(0, 0);
    d->router = router_new(d->f->base, &router_config, &ops, d, d->mediator);
    assert_non_null(d->router);
    snprintf(path, sizeof path, "%s/journal", d->f->dir);
    const struct journal_config journal = {.folder = path, .segment_bytes = 2u << 20};
    assert_int_equal(router_open_journal(d->router, &journal, &err), 0);
    struct manager_config config = {.priv_socket = d->priv,
                                    .kernel_fd = d->kernel_fd,
                                    .log_folder = d->logs,
                                    .pool = d->f->pool,
                                    .log_capacity = 8192,
                                    .state_folder = d->f->dir,
                                    .boot_timeout_ms = d->timeout_ms,
                                    .linux_boot_timeout_ms = d->timeout_ms,
                                    .restart_min_ms = d->restart_min_ms,
                                    .still_timeout_ms = d->timeout_ms};
    struct manager_deps deps = {d->f->base, d->f->store, d->f->mutator, d->images, d->router};
    assert_int_equal(manager_new(&config, &deps, &d->manager, &err), 0);
}

void daemon_start(struct daemon *d)
{
    struct err err;
    start_parts(d);
    struct api_deps deps = {.base = d->f->base,
                            .store = d->f->store,
                            .mutator = d->f->mutator,
                            .manager = d->manager,
                            .images = d->images,
                            .router = d->router,
                            .mediator = d->mediator,
                            .pool = d->f->pool,
                            .network = "10.77.0.0/16",
                            .log_folder = d->logs,
                            .image_bytes_max = 1 << 20,
                            .admins = &d->admin,
                            .n_admins = 1};
    assert_int_equal(api_new(&deps, &d->api, &err), 0);
    struct http_server_config http = {.base = d->f->base, .arg = d->api, .admit = api_admit};
    http.routes = api_routes(&http.n_routes);
    assert_int_equal(http_server_new(&http, &d->http, &err), 0);
    api_set_server(d->api, d->http);
    assert_int_equal(http_server_listen_unix(d->http, d->socket, 0600, (gid_t)-1, &err), 0);
}

void daemon_stop(struct daemon *d)
{
    http_server_free(d->http);
    api_stop(d->api);
    manager_stop(d->manager);
    // What is still on its way to the store finds the parts alive.
    for (int i = 0; i < 2; i++)
        fixture_settle(d->f);
    images_free(d->images);
    manager_free(d->manager);
    api_free(d->api);
    router_free(d->router);
    mediator_free(d->mediator);
}

int daemon_setup(void **state)
{
    struct daemon *d = calloc(1, sizeof *d);
    assert_non_null(d);
    fixture_setup((void **)&d->f);
    snprintf(d->socket, sizeof d->socket, "%s/envd.sock", d->f->dir);
    snprintf(d->priv, sizeof d->priv, "%s/priv.sock", d->f->dir);
    snprintf(d->logs, sizeof d->logs, "%s/logs", d->f->dir);
    d->kernel_fd = memfd_create("kernel", MFD_CLOEXEC);
    d->admin = getuid();
    d->timeout_ms = 60000;
    d->restart_min_ms = 200;
    daemon_start(d);
    *state = d;
    return 0;
}

static void reply_clear(void)
{
    json_decref(last.json);
    free(last.body);
    memset(&last, 0, sizeof last);
}

int daemon_teardown(void **state)
{
    struct daemon *d = *state;
    void *f = d->f;
    daemon_stop(d);
    close(d->kernel_fd);
    reply_clear();
    free(d);
    return fixture_teardown(&f);
}

// --- the client ---

static int connect_to(struct daemon *d)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, d->socket, sizeof d->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void send_all(struct daemon *d, int fd, const char *data, size_t len)
{
    uint64_t end = io_monotonic_ns() + WAIT_NS;
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; // answered and closed before it was all read: the reply says why
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
        event_base_loop(d->f->base, EVLOOP_NONBLOCK);
        assert_true(io_monotonic_ns() < end);
    }
}

// Receives what there is; false at the end of the stream.
static bool receive(struct daemon *d, int fd, char *data, size_t *len, size_t cap)
{
    event_base_loop(d->f->base, EVLOOP_NONBLOCK);
    ssize_t n = recv(fd, data + *len, cap - 1 - *len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return false;
    if (n > 0)
        *len += (size_t)n;
    else
        usleep(200);
    data[*len] = '\0';
    return true;
}

static void parse_reply(const char *data, size_t len)
{
    const char *end = strstr(data, "\r\n\r\n");
    if (!end)
        return;
    snprintf(last.head, sizeof last.head, "%.*s\r\n", (int)(end - data), data);
    last.status = atoi(data + strlen("HTTP/1.1 "));
    last.len = len - (size_t)(end + 4 - data);
    last.body = calloc(1, last.len + 1);
    memcpy(last.body, end + 4, last.len);
    last.json = json_loads(last.body, JSON_DECODE_ANY, NULL);
}

const struct reply *call(struct daemon *d, const char *method, const char *path, const char *headers,
                         const char *body)
{
    static char data[REPLY_CAP];
    size_t len = 0, body_len = body ? strlen(body) : 0;
    _cleanup_free_ char *request = NULL;
    _cleanup_close_ int fd = connect_to(d);
    int n = asprintf(&request, "%s %s HTTP/1.1\r\nHost: envd\r\nConnection: close\r\n%s", method, path,
                     headers ? headers : "");
    assert_true(n > 0);
    send_all(d, fd, request, (size_t)n);
    char length[64];
    n = body ? snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", body_len)
             : snprintf(length, sizeof length, "\r\n");
    send_all(d, fd, length, (size_t)n);
    send_all(d, fd, body ? body : "", body_len);
    uint64_t end = io_monotonic_ns() + WAIT_NS;
    data[0] = '\0';
    while (receive(d, fd, data, &len, sizeof data))
        if (io_monotonic_ns() > end)
            fail_msg("%s %s: no complete reply in 30 s: %s", method, path, data);
    reply_clear();
    parse_reply(data, len);
    return &last;
}

const struct reply *call_ok(struct daemon *d, int status, const char *method, const char *path,
                            const char *body)
{
    const struct reply *r = call(d, method, path, NULL, body);
    if (r->status != status)
        fail_msg("%s %s: %d instead of %d: %s", method, path, r->status, status, r->body ? r->body : "");
    return r;
}

static const json_t *at(const char *path)
{
    const json_t *v = last.json;
    while (v && *path) {
        char name[64];
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        v = json_is_array(v) ? json_array_get(v, (size_t)atoi(name)) : json_object_get(v, name);
        path += n + (path[n] == '.');
    }
    return v;
}

const char *text_at(const char *path)
{
    const char *s = json_string_value(at(path));
    return s ? s : "";
}

int64_t number_in(const char *path)
{
    const json_t *v = at(path);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

int open_stream(struct daemon *d, const char *path, const char *headers)
{
    _cleanup_free_ char *request = NULL;
    int fd = connect_to(d);
    int n = asprintf(&request, "GET %s HTTP/1.1\r\nHost: envd\r\n%s\r\n", path, headers ? headers : "");
    assert_true(n > 0);
    send_all(d, fd, request, (size_t)n);
    return fd;
}

const char *read_until(struct daemon *d, int fd, const char *text)
{
    size_t len = 0;
    uint64_t end = io_monotonic_ns() + WAIT_NS;
    stream_text[0] = '\0';
    while (!strstr(stream_text, text)) {
        if (!receive(d, fd, stream_text, &len, sizeof stream_text) || io_monotonic_ns() > end)
            fail_msg("\"%s\" did not come, but: %s", text, stream_text);
    }
    return stream_text;
}

size_t n_items(void)
{
    size_t n = 0;
    char path[24];
    for (;; n++) {
        snprintf(path, sizeof path, "items.%zu.kind", n);
        if (text_at(path)[0] == '\0')
            return n;
    }
}

// --- objects ---

void make_tenant(struct daemon *d, const char *name)
{
    char body[128];
    snprintf(body, sizeof body, "{\"name\":\"%s\"}", name);
    call_ok(d, 201, "POST", "/v1/tenants", body);
}

void make_environment(struct daemon *d, const char *tenant, const char *name)
{
    char path[128], body[256];
    if (!store_get(d->f->store, "images/" DIGEST_A))
        assert_int_equal(add_image(d->f, DIGEST_A, "static-elf"), 0);
    snprintf(path, sizeof path, "/v1/tenants/%s/environments", tenant);
    snprintf(body, sizeof body, "{\"name\":\"%s\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_A "\"}}",
             name);
    call_ok(d, 201, "POST", path, body);
}
