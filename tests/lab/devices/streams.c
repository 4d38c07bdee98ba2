// Owns the host's end of a guest's vsock connections: see guest.c for what each asks for. A thread each; they
// end with their connection.
#include "streams.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"

#define CHUNK 65536u

static void fill(uint8_t *chunk, uint64_t at)
{
    for (size_t i = 0; i < CHUNK; i += sizeof at) {
        uint64_t v = (at + i) * 0x9e3779b97f4a7c15u;
        memcpy(chunk + i, &v, sizeof v);
    }
}

// Checks the pattern up to the end of the stream.
static void job_send(int fd)
{
    uint8_t *chunk = malloc(2ul * CHUNK);
    bool good = chunk != NULL;
    for (uint64_t at = 0; good; at += CHUNK) {
        ssize_t n = recv(fd, chunk, CHUNK, MSG_WAITALL);
        if (n == 0)
            break;
        fill(chunk + CHUNK, at);
        good = n == CHUNK && memcmp(chunk, chunk + CHUNK, CHUNK) == 0;
    }
    free(chunk);
    (void)!io_write_all(fd, good ? "ok" : "no", 2);
}

static void job_recv(int fd)
{
    uint8_t mib, *chunk = malloc(CHUNK);
    if (chunk && read(fd, &mib, 1) == 1)
        for (uint64_t at = 0; at < (uint64_t)mib << 20; at += CHUNK) {
            fill(chunk, at);
            if (io_write_all(fd, chunk, CHUNK) < 0)
                break;
        }
    free(chunk);
}

static void job_echo(int fd)
{
    char c;
    while (read(fd, &c, 1) == 1)
        if (io_write_all(fd, &c, 1) < 0)
            return;
}

static void job_half(int fd)
{
    char c;
    const bool ended = read(fd, &c, 1) == 0;
    (void)!io_write_all(fd, ended ? "ok" : "no", 2);
}

static void *serve(void *arg)
{
    const int fd = *(int *)arg;
    char job;
    free(arg);
    fcntl(fd, F_SETFL, 0); // blocking
    if (read(fd, &job, 1) == 1) {
        if (job == 'S')
            job_send(fd);
        else if (job == 'R')
            job_recv(fd);
        else if (job == 'E')
            job_echo(fd);
        else if (job == 'H')
            job_half(fd);
    }
    close(fd);
    return NULL;
}

void streams_serve(int fd)
{
    pthread_attr_t attr;
    pthread_t thread;
    int *arg = malloc(sizeof *arg);
    if (!arg) {
        close(fd);
        return;
    }
    *arg = fd;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 1u << 18);
    if (pthread_create(&thread, &attr, serve, arg) != 0) {
        free(arg);
        close(fd);
    }
    pthread_attr_destroy(&attr);
}
