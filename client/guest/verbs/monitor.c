// envctl monitor: says when other environments go away, a line for each time.
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "guest.h"

struct monitor_options {
    unsigned long n; // 0: without end
    int timeout_ms;  // -1: for ever
    bool json;
    char **addresses;
};

static int parse(int argc, char **argv, struct monitor_options *o)
{
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"format", required_argument, NULL, 'f'},
                                            {0}};
    int option;
    *o = (struct monitor_options){.timeout_ms = -1};
    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
        if (option == 'n' && !guest_parse_count(optarg, 1000000000, &o->n))
            return guest_usage("monitor", "--count %s: a number is wanted", optarg);
        if (option == 't' && !guest_parse_ms(optarg, &o->timeout_ms))
            return guest_usage("monitor", "--timeout %s: a time is wanted, as in 250ms, 10s or 2m", optarg);
        if (option == 'f' && !guest_parse_format(optarg, &o->json))
            return guest_usage("monitor", "--format %s: text or json is wanted", optarg);
        if (option == '?')
            return guest_usage("monitor", "unknown option, or an option without its value");
    }
    o->addresses = argv + optind;
    return optind == argc ? guest_usage("monitor", "which environments?") : 0;
}

static int print(const struct env_gone *g, bool json)
{
    const char *certainty = g->certain ? "certain" : "unknown";
    if (json) {
        printf("{\"address\":");
        guest_print_json_string(g->address, strlen(g->address));
        printf(",\"event\":\"gone\",\"certainty\":\"%s\",\"reason\":", certainty);
        guest_print_json_string(g->reason, strlen(g->reason));
        puts("}");
    } else {
        printf("%s gone %s %s\n", g->address, certainty, g->reason);
    }
    return guest_print("monitor", "", 0);
}

static int monitor(struct env *env, const struct monitor_options *o)
{
    for (char **a = o->addresses; *a; a++) {
        int rc = env_monitor(env, *a);
        if (rc != 0)
            return guest_report("monitor", env, rc, *a);
    }
    int exit_code = 0;
    for (unsigned long i = 0; exit_code == 0 && (o->n == 0 || i < o->n); i++) {
        struct env_gone gone;
        int rc = env_wait_gone(env, o->timeout_ms, &gone);
        exit_code = rc != 0 ? guest_report("monitor", env, rc, NULL) : print(&gone, o->json);
    }
    return exit_code;
}

int verb_monitor(int argc, char **argv)
{
    struct monitor_options o;
    struct env *env = NULL;
    int exit_code = parse(argc, argv, &o);
    if (exit_code == 0)
        exit_code = guest_open("monitor", &env);
    if (exit_code == 0)
        exit_code = monitor(env, &o);
    env_close(env);
    return exit_code;
}
