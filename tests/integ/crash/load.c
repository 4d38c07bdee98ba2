// The load of the crash story: sends numbered messages to environments through envd's API, one after the
// other, each with an id of its own until a receipt says that it was accepted: crash_load SOCKET STREAM
// SECONDS-AT-MOST TENANT/NAME... Prints "accepted ID STREAM NUMBER TENANT/NAME" for each, until SIGTERM, and
// never gives one up. envd may be gone at any moment.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/name.h"

#define PAUSE_NS 20000000

static volatile sig_atomic_t told_to_end;

static void on_term(int signal_number)
{
    (void)signal_number;
    told_to_end = 1;
}

static int open_api(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct timeval patience = {.tv_sec = 20};
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

// A whole small reply, or false: the connection is useless.
static bool read_reply(int fd, char *reply, size_t cap)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, reply + len, cap - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        len += (size_t)n;
        reply[len] = '\0';
        const char *end = strstr(reply, "\r\n\r\n"), *field = strstr(reply, "Content-Length: ");
        if (end && field && field < end && len >= (size_t)(end + 4 - reply) + strtoul(field + 16, NULL, 10))
            return true;
        if (len + 1 == cap)
            return false;
    }
}

// Until it is accepted. Refusals are said: they must go away when what was killed is back.
static void send_until_accepted(const char *socket_path, int *fd, const char *id, const char *to,
                                const char *text)
{
    char request[1024], body[512], reply[4096], last[64] = "";
    int body_len =
        snprintf(body, sizeof body,
                 "{\"to\":\"%s\",\"subject\":\"crash.load\",\"id\":\"%s\",\"body\":\"%s\"}", to, id, text);
    int len = snprintf(request, sizeof request,
                       "POST /v1/messages HTTP/1.1\r\nHost: envd\r\nContent-Type: application/json\r\n"
                       "Content-Length: %d\r\n\r\n%s",
                       body_len, body);
    for (;;) {
        if (*fd < 0)
            *fd = open_api(socket_path);
        if (*fd >= 0 && io_write_all(*fd, request, (size_t)len) == 0 &&
            read_reply(*fd, reply, sizeof reply)) {
            const char *code = strstr(reply, "\"code\":");
            if (code && sscanf(code + 7, " \"%63[^\"]\"", last) == 1 && strcmp(last, "accepted") == 0)
                return;
            fprintf(stderr, "%s to %s: %s\n", text, to, code ? last : reply);
        } else if (*fd >= 0) {
            close(*fd);
            *fd = -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: crash_load SOCKET STREAM SECONDS-AT-MOST TENANT/NAME...\n");
        return 2;
    }
    signal(SIGTERM, on_term);
    signal(SIGPIPE, SIG_IGN);
    int fd = -1;
    uint64_t end_ns = io_monotonic_ns() + strtoull(argv[3], NULL, 10) * 1000000000u;
    for (unsigned long number = 0; !told_to_end && io_monotonic_ns() < end_ns; number++) {
        const char *to = argv[4 + number % (unsigned)(argc - 4)];
        uint8_t random[10];
        char id[ID_TEXT_CAP], text[64];
        if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
            return 1;
        const struct id made = id_make(io_realtime_ms(), random);
        id_format(&made, id);
        snprintf(text, sizeof text, "%s %lu", argv[2], number);
        send_until_accepted(argv[1], &fd, id, to, text);
        printf("accepted %s %s %s\n", id, text, to);
        fflush(stdout);
    }
    return 0;
}
