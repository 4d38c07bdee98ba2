// envctl clock: the host's time (RFC 3339, UTC).
#include <stdio.h>
#include <time.h>

#include "guest.h"

int verb_clock(int argc, char **argv)
{
    struct env *env = NULL;
    uint64_t now_ns;
    if (argc > 1)
        return guest_usage("clock", "\"%s\" is one word too many", argv[1]);
    int exit_code = guest_open("clock", &env);
    if (exit_code == 0) {
        int rc = env_clock(env, &now_ns);
        exit_code = rc != 0 ? guest_report("clock", env, rc, NULL) : 0;
    }
    if (exit_code == 0) {
        char text[64];
        struct tm tm;
        time_t seconds = (time_t)(now_ns / 1000000000);
        size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
        n += (size_t)snprintf(text + n, sizeof text - n, ".%09uZ\n", (unsigned)(now_ns % 1000000000));
        exit_code = guest_print("clock", text, n);
    }
    env_close(env);
    return exit_code;
}
