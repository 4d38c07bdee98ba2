// Ping-pong over TCP, for both ends of a virtual network:
//   bench-tcp serve PORT                          answers what comes, a connection at a time
//   bench-tcp ping ADDRESS PORT WARM-UP N BYTES   one number a line, nanoseconds there and back
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define N_MAX     100000
#define BYTES_MAX 65536

static unsigned long long ns[N_MAX];
static char data[BYTES_MAX];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static unsigned long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000u + (unsigned long long)t.tv_nsec;
}

static int tcp_socket(void)
{
    const int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        die("socket");
    return fd;
}

static int send_whole(int fd, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, data + done, len - done, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

static void serve(const char *port)
{
    const struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int listener = tcp_socket(), fd;
    if (bind(listener, (const struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 1) < 0)
        die("listen");
    while ((fd = accept(listener, NULL, NULL)) >= 0) { // inherits TCP_NODELAY
        for (ssize_t n; (n = recv(fd, data, sizeof data, 0)) > 0 && send_whole(fd, (size_t)n) == 0;)
            continue;
        close(fd);
    }
}

static void ping(char **argv)
{
    const unsigned long warm_up = strtoul(argv[2], NULL, 10), n = strtoul(argv[3], NULL, 10),
                        len = strtoul(argv[4], NULL, 10);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    int fd = tcp_socket();
    if (n > N_MAX || len > BYTES_MAX || inet_pton(AF_INET, argv[0], &a.sin_addr) != 1 ||
        connect(fd, (const struct sockaddr *)&a, sizeof a) < 0)
        die("connect");
    for (unsigned long i = 0; i < warm_up + n; i++) {
        const unsigned long long start = now_ns();
        if (send_whole(fd, len) < 0 || recv(fd, data, len, MSG_WAITALL) != (ssize_t)len)
            die("ping");
        ns[i < warm_up ? 0 : i - warm_up] = now_ns() - start;
    }
    for (unsigned long i = 0; i < n; i++)
        printf("%llu\n", ns[i]);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        serve(argv[2]);
    else if (argc == 7 && strcmp(argv[1], "ping") == 0)
        ping(argv + 2);
    else
        fprintf(stderr, "usage: bench-tcp serve PORT | bench-tcp ping ADDRESS PORT WARM-UP N BYTES\n");
    return argc == 7 ? 0 : 2;
}
