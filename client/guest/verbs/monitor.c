// envctl monitor: says when other environments go away, a line for each time.
#include <stdio.h>
#include <string.h>

#include "guest.h"

static int parse(int argc, char **argv, struct guest_incoming *o, char ***ret_addresses)
{
    int rest;
    *o = (struct guest_incoming){.timeout_ms = -1};
    int rc = guest_incoming_parse(o, argc, argv, &rest);
    if (rc == 0 && rest == argc)
        rc = guest_usage("monitor", "which environments?");
    if (rc == 0)
        *ret_addresses = argv + rest;
    return rc;
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

static int monitor(struct env *env, const struct guest_incoming *o, char **addresses)
{
    for (char **a = addresses; *a; a++) {
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
    struct guest_incoming o;
    char **addresses;
    struct env *env = NULL;
    int exit_code = parse(argc, argv, &o, &addresses);
    if (exit_code == 0)
        exit_code = guest_open("monitor", &env);
    if (exit_code == 0)
        exit_code = monitor(env, &o, addresses);
    env_close(env);
    return exit_code;
}
