// Calls echo and prints how long each call took: caller WARM-UP CALLS BODY-BYTES. One number a line,
// nanoseconds by the environment's own clock, then "done".
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "env/env.h"

#define CALLS_MAX  100000
#define BODY_MAX   65536
#define TIMEOUT_MS 5000

static unsigned long ns[CALLS_MAX];
static char body[BODY_MAX];

static unsigned long now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (unsigned long)ts.tv_sec * 1000000000ul + (unsigned long)ts.tv_nsec;
}

static int call(struct env *env, size_t len, unsigned long *ret_ns)
{
    const struct env_outgoing m = {.to = "echo", .subject = "bench.call", .body = body, .body_len = len};
    struct env_message *reply;
    unsigned long start = now_ns();
    int rc = env_call(env, &m, TIMEOUT_MS, &reply);
    *ret_ns = now_ns() - start;
    if (rc != 0 || reply->body_len != len) {
        printf("failed: %s\n", rc ? env_error(env) : "another length came back");
        return -1;
    }
    env_message_free(reply);
    return 0;
}

int main(int argc, char **argv)
{
    struct env *env;
    unsigned long warm_up = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long n = argc == 4 ? strtoul(argv[2], NULL, 10) : 0,
                  len = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (n == 0 || n > CALLS_MAX || len > BODY_MAX || env_open(&env) < 0) {
        printf("failed: %s\n", n ? env_error(NULL) : "caller WARM-UP CALLS BODY-BYTES");
        return 1;
    }
    for (unsigned long i = 0; i < warm_up + n; i++)
        if (call(env, len, &ns[i < warm_up ? 0 : i - warm_up]) < 0)
            return 1;
    for (unsigned long i = 0; i < n; i++)
        printf("%lu\n", ns[i]);
    printf("done\n");
    fflush(stdout);
    env_close(env);
    return 0;
}
