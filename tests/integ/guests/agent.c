// A program that uses the agent through libenv, the host's end being tests/integ/tools/agenthost: messages to
// itself, calls with small and large bodies, services, the clock. argv[1] "end": asks to be ended; "time":
// prints how long calls take.
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "env/env.h"

static struct env *env;

static void check_messages(void)
{
    struct env_message *m = NULL;
    for (int i = 0; i < 50; i++) {
        char body[32];
        int n = snprintf(body, sizeof body, "message %d", i);
        struct env_outgoing out = {.to = "cell", .subject = "a.b", .body = body, .body_len = (size_t)n};
        CHECK(env_send(env, &out, NULL) == 0);
    }
    for (int i = 0; i < 50; i++) {
        char body[32];
        snprintf(body, sizeof body, "message %d", i);
        CHECK(env_recv(env, 5000, &m) == 0 && !strcmp(m->body, body) && !strcmp(m->from, "test/cell"));
        CHECK(env_ack(env, m) == 0);
        env_message_free(m);
    }
    CHECK(env_recv(env, 20, &m) == -ETIMEDOUT);
    struct pollfd p = {env_fd(env), POLLIN, 0};
    CHECK(poll(&p, 1, 10) == 0);
}

static void check_call(size_t n)
{
    unsigned char *body = malloc(n + 1);
    struct env_message *reply = NULL;
    for (size_t i = 0; i < n; i++)
        body[i] = (unsigned char)(i * 7 + i / 256);
    struct env_outgoing call = {.to = "echo", .subject = "x", .body = body, .body_len = n};
    int rc = env_call(env, &call, 10000, &reply);
    CHECK(rc == 0);
    if (rc == 0) {
        CHECK(reply->body_len == n && !memcmp(reply->body, body, n));
        env_message_free(reply);
    }
    free(body);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void print_times(void)
{
    enum { N = 200 };
    uint64_t total = 0, least = UINT64_MAX;
    for (int i = 0; i < N; i++) {
        uint64_t start = now_ns();
        check_call(256);
        uint64_t took = now_ns() - start;
        total += took;
        least = took < least ? took : least;
    }
    printf("a call of 256 bytes: %lu us on average, %lu us at best\n", (unsigned long)(total / N / 1000),
           (unsigned long)(least / 1000));
}

int main(int argc, char **argv)
{
    uint64_t clock = 0;
    if (env_open(&env) < 0) {
        printf("FAILED env_open: %s\n", env_error(NULL));
        return 1;
    }
    CHECK(!strcmp(env_identity(env)->tenant, "test") && !strcmp(env_identity(env)->name, "cell"));
    CHECK(env_clock(env, &clock) == 0 && clock / 1000000000u - (uint64_t)time(NULL) <= 1);
    CHECK(env_register(env, "sums") == 0 && env_unregister(env, "sums") == 0);
    check_messages();
    static const size_t sizes[] = {0, 1, 256, 4000, 70000, 1 << 20, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_call(sizes[i]);
    env_close(env);
    CHECK(env_open(&env) == 0);
    check_call(10);
    if (argc > 1 && !strcmp(argv[1], "time"))
        print_times();
    if (argc > 1 && !strcmp(argv[1], "end")) {
        struct env_outgoing end = {.to = "end"};
        CHECK(env_send(env, &end, NULL) == 0);
        printf("asked for the end\n");
        fflush(stdout);
        pause();
    }
    env_close(env);
    return check_done("agent");
}
