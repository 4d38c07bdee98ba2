// The stop-watch's API client: blocking, one request at a time, replies with Content-Length or none.
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/io.h"

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

void api_open(struct api_conn *c, const char *socket_path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", socket_path);
    c->len = 0;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&a, sizeof a) < 0)
        die(socket_path);
}

void api_close(struct api_conn *c)
{
    close(c->fd);
}

void api_send(struct api_conn *c, const char *method, const char *path)
{
    char request[1024];
    int n = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: envd\r\n%s\r\n", method, path,
                     strcmp(method, "GET") == 0 ? "" : "Content-Length: 0\r\n");
    if (io_write_all(c->fd, request, (size_t)n) < 0)
        die("request");
}

static bool read_more(struct api_conn *c)
{
    if (c->len + 1 >= sizeof c->data) {
        fprintf(stderr, "the reply is too long\n");
        exit(1);
    }
    ssize_t n = read(c->fd, c->data + c->len, sizeof c->data - 1 - c->len);
    if (n <= 0)
        return false;
    c->len += (size_t)n;
    c->data[c->len] = '\0';
    return true;
}

// Leaves what comes after the head at the beginning of the data. The status and the body's length.
static int read_head(struct api_conn *c, size_t *ret_body_len)
{
    char *end;
    c->data[c->len] = '\0';
    while (!(end = strstr(c->data, "\r\n\r\n")))
        if (!read_more(c))
            die("reply");
    int status = 0;
    *ret_body_len = 0;
    if (sscanf(c->data, "HTTP/1.1 %d", &status) != 1)
        die("reply");
    for (char *line = c->data; line && line < end; line = strstr(line, "\r\n"), line = line ? line + 2 : NULL)
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            *ret_body_len = strtoul(line + 15, NULL, 10);
    size_t head = (size_t)(end + 4 - c->data);
    memmove(c->data, end + 4, c->len - head + 1);
    c->len -= head;
    return status;
}

int api_reply(struct api_conn *c, const char **ret_body)
{
    static char body[sizeof c->data];
    size_t len;
    int status = read_head(c, &len);
    while (c->len < len)
        if (!read_more(c))
            die("reply");
    memcpy(body, c->data, len);
    body[len] = '\0';
    memmove(c->data, c->data + len, c->len - len + 1);
    c->len -= len;
    *ret_body = body;
    return status;
}

int api_reply_head(struct api_conn *c)
{
    size_t unused;
    return read_head(c, &unused);
}

bool api_wait_byte(struct api_conn *c)
{
    return c->len > 0 || read_more(c);
}
