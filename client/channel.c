// Owns an upgraded connection to envd: libcurl connects, the request and the reply's head are read and
// written here, for libcurl has no upgrades. Called by the verbs of sessions.
#include "channel.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "common/cleanup.h"

#define FRAME_MAX   (SESSION_HEADER_LEN + SESSION_PAYLOAD_MAX)
#define IN_CAP      ((size_t)2 * FRAME_MAX)
#define OUT_CAP     (CHANNEL_QUEUE_MAX + FRAME_MAX)
#define REFUSAL_MAX 60000u // of a problem's body
#define UPGRADE_MS  30000  // envd itself waits for the agent for 10 s

struct channel {
    CURL *curl;
    int fd;
    uint8_t *in, *out;
    size_t in_start, in_len, out_start, out_len;
    size_t taken; // of the input, by the frame that was handed out last
};

void channel_free(struct channel *c)
{
    if (!c)
        return;
    if (c->curl)
        curl_easy_cleanup(c->curl);
    free(c->in);
    free(c->out);
    free(c);
}

int channel_fd(const struct channel *c)
{
    return c->fd;
}

size_t channel_queued(const struct channel *c)
{
    return c->out_len;
}

static void wait_for(const struct channel *c, short events, int timeout_ms)
{
    struct pollfd p = {.fd = c->fd, .events = events};
    poll(&p, 1, timeout_ms);
}

// --- bytes ---

bool channel_is_full(const struct channel *c)
{
    return c->in_len == IN_CAP;
}

static void make_room(struct channel *c)
{
    c->in_start += c->taken;
    c->in_len -= c->taken;
    c->taken = 0;
    if (c->in_start > 0)
        memmove(c->in, c->in + c->in_start, c->in_len);
    c->in_start = 0;
}

int channel_fill(struct channel *c)
{
    size_t n = 0;
    if (c->in_start + c->in_len == IN_CAP)
        make_room(c);
    if (c->in_len == IN_CAP)
        return -EAGAIN;
    size_t end = c->in_start + c->in_len;
    CURLcode rc = curl_easy_recv(c->curl, c->in + end, IN_CAP - end, &n);
    if (rc == CURLE_AGAIN)
        return -EAGAIN;
    if (rc != CURLE_OK || n == 0)
        return -EPIPE;
    c->in_len += n;
    return 0;
}

int channel_flush(struct channel *c)
{
    while (c->out_len > 0) {
        size_t n = 0;
        CURLcode rc = curl_easy_send(c->curl, c->out + c->out_start, c->out_len, &n);
        if (rc == CURLE_AGAIN)
            return 0;
        if (rc != CURLE_OK)
            return -EPIPE;
        c->out_start += n;
        c->out_len -= n;
    }
    c->out_start = 0;
    return 0;
}

// --- frames ---

int channel_next(struct channel *c, struct session_frame *ret)
{
    struct session_header h;
    struct wire_error error;
    c->in_start += c->taken;
    c->in_len -= c->taken;
    c->taken = 0;
    const uint8_t *data = c->in + c->in_start;
    if (c->in_len < SESSION_HEADER_LEN)
        return 0;
    if (session_header_read(data, &h))
        return -EPROTO;
    size_t len = SESSION_HEADER_LEN + (size_t)h.len_bytes;
    if (c->in_len < len)
        return 0;
    if (!session_frame_read(&h, data + SESSION_HEADER_LEN, ret, &error))
        return -EPROTO;
    c->taken = len;
    return 1;
}

int channel_send(struct channel *c, const struct session_frame *f)
{
    struct wire_writer w;
    if (c->out_start > 0)
        memmove(c->out, c->out + c->out_start, c->out_len);
    c->out_start = 0;
    wire_writer_init(&w, c->out + c->out_len, OUT_CAP - c->out_len);
    session_frame_write(&w, f);
    if (w.overflow)
        return -ENOBUFS;
    c->out_len += w.pos;
    return channel_flush(c);
}

// --- steps ---

static enum cli_exit exit_of(enum session_error code)
{
    switch (code) {
    case SESSION_ERROR_NOT_FOUND:
        return CLI_NOT_FOUND;
    case SESSION_ERROR_DENIED:
    case SESSION_ERROR_READ_ONLY:
        return CLI_REFUSED;
    case SESSION_ERROR_EXISTS:
        return CLI_CONFLICT;
    case SESSION_ERROR_GONE:
    case SESSION_ERROR_LIMIT:
        return CLI_UNAVAILABLE;
    default:
        return CLI_ERROR;
    }
}

int channel_explain(struct cli *cli, const char *what, const struct session_frame *f)
{
    return cli_fail(cli, exit_of(f->error.code), "%s: %.*s", what, (int)f->error.text.len,
                    (const char *)f->error.text.data);
}

int channel_lost(struct cli *cli, const char *what)
{
    cli_fail(cli, CLI_UNAVAILABLE,
             "%s: the session ended amid its work: the environment stopped, its agent ended, "
             "or envd was restarted",
             what);
    return cli_hint(cli, CLI_UNAVAILABLE, "look at the environment's state with envctl show, and try again");
}

static int protocol_error(struct cli *cli, const char *what)
{
    return cli_fail(cli, CLI_ERROR, "%s: the guest's agent sent what is no frame of a session", what);
}

int channel_expect(struct cli *cli, struct channel *c, const char *what, struct session_frame *ret)
{
    for (;;) {
        int rc = channel_next(c, ret);
        if (rc < 0)
            return protocol_error(cli, what);
        if (rc == 1)
            return ret->type == SESSION_ERROR ? channel_explain(cli, what, ret) : 0;
        if (channel_flush(c) < 0)
            return channel_lost(cli, what);
        rc = channel_fill(c);
        if (rc == -EAGAIN)
            wait_for(c, c->out_len > 0 ? POLLIN | POLLOUT : POLLIN, -1);
        else if (rc < 0)
            return channel_lost(cli, what);
    }
}

// A guest that gives up says why: its words are read before its silence is complained about.
static int push_failed(struct cli *cli, struct channel *c, const char *what)
{
    struct session_frame f;
    int rc;
    do
        rc = channel_expect(cli, c, what, &f);
    while (rc == 0);
    return rc;
}

int channel_push(struct cli *cli, struct channel *c, const char *what, const struct session_frame *f)
{
    while (c->out_len > CHANNEL_QUEUE_MAX) {
        int rc = channel_fill(c); // an ERROR
        if (rc == -EPIPE || c->in_len > c->taken)
            return push_failed(cli, c, what);
        if (channel_flush(c) < 0)
            return push_failed(cli, c, what);
        if (c->out_len > CHANNEL_QUEUE_MAX)
            wait_for(c, POLLIN | POLLOUT, -1);
    }
    return channel_send(c, f) < 0 ? push_failed(cli, c, what) : 0;
}

// --- the upgrade ---

static int connect_channel(struct cli *cli, struct channel *c)
{
    curl_socket_t fd;
    c->curl = curl_easy_init();
    c->in = malloc(IN_CAP);
    c->out = malloc(OUT_CAP);
    if (!c->curl || !c->in || !c->out)
        return cli_fail(cli, CLI_ERROR, "no memory for a connection");
    curl_easy_setopt(c->curl, CURLOPT_URL, "http://envd/");
    curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
    curl_easy_setopt(c->curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    CURLcode rc = curl_easy_perform(c->curl);
    if (rc == CURLE_OK)
        rc = curl_easy_getinfo(c->curl, CURLINFO_ACTIVESOCKET, &fd);
    if (rc != CURLE_OK)
        return api_explain_connection(cli, (int)rc);
    c->fd = fd;
    return 0;
}

static int send_text(struct channel *c, const char *text, size_t len)
{
    while (len > 0) {
        size_t n = 0;
        CURLcode rc = curl_easy_send(c->curl, text, len, &n);
        if (rc == CURLE_AGAIN)
            wait_for(c, POLLOUT, UPGRADE_MS);
        else if (rc != CURLE_OK)
            return -EPIPE;
        text += n;
        len -= n;
    }
    return 0;
}

static int send_request(struct channel *c, const char *path, const char *body)
{
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: envd\r\nConnection: Upgrade\r\nUpgrade: envd-session\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     path, strlen(body));
    int rc = send_text(c, head, (size_t)n);
    return rc < 0 ? rc : send_text(c, body, strlen(body));
}

// Fills until there is a whole head. Its length, or 0: nothing more comes.
static size_t read_head(struct channel *c)
{
    for (;;) {
        const char *end = c->in_len >= 4 ? memmem(c->in, c->in_len, "\r\n\r\n", 4) : NULL;
        if (end)
            return (size_t)(end + 4 - (const char *)c->in);
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (c->in_len > REFUSAL_MAX || poll(&p, 1, UPGRADE_MS) <= 0)
            return 0;
        int rc = channel_fill(c);
        if (rc < 0 && rc != -EAGAIN)
            return 0;
    }
}

static int explain_refusal(struct cli *cli, struct channel *c, size_t head_len, long status)
{
    c->in[head_len - 1] = '\0';
    const char *field = strcasestr((const char *)c->in, "\r\ncontent-length:");
    size_t len = field ? strtoul(field + 17, NULL, 10) : 0;
    while (len < REFUSAL_MAX && c->in_len < head_len + len) {
        wait_for(c, POLLIN, UPGRADE_MS);
        if (channel_fill(c) < 0)
            break;
    }
    size_t have = c->in_len - head_len;
    json_t *problem = json_loadb((const char *)c->in + head_len, have < len ? have : len, 0, NULL);
    int rc = api_explain_problem(cli, status, problem);
    json_decref(problem);
    return rc;
}

static int upgrade(struct cli *cli, struct channel *c, const char *path, const char *body)
{
    if (send_request(c, path, body) < 0)
        return api_explain_connection(cli, CURLE_SEND_ERROR);
    size_t head_len = read_head(c);
    if (head_len < 13 || memcmp(c->in, "HTTP/1.1 ", 9) != 0)
        return cli_fail(cli, CLI_UNAVAILABLE, "envd at %s did not answer the request for a session",
                        cli->socket);
    long status = strtol((const char *)c->in + 9, NULL, 10);
    if (status != 101)
        return explain_refusal(cli, c, head_len, status);
    c->in_start = head_len;
    c->in_len -= head_len;
    return 0;
}

int channel_open(struct cli *cli, const char *path, json_t *body, struct channel **ret)
{
    _cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct channel *c = calloc(1, sizeof *c);
    bool failed = !c || (body && !text);
    json_decref(body);
    int rc = failed ? cli_fail(cli, CLI_ERROR, "no memory for the request") : connect_channel(cli, c);
    if (rc == 0)
        rc = upgrade(cli, c, path, text ? text : "");
    if (rc != 0) {
        channel_free(c);
        return rc;
    }
    *ret = c;
    return 0;
}
