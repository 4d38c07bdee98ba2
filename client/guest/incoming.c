// What recv and monitor are told alike: for how many to wait, how long, and how to print them.
#include <getopt.h>

#include "guest.h"

int guest_incoming_parse(struct guest_incoming *in, int argc, char **argv, int *ret_rest)
{
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"format", required_argument, NULL, 'f'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    const char *verb = argv[0];
    int option;
    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "n:", options, NULL)) != -1) {
        if (option == 'n' && !guest_parse_count(optarg, 1000000000, &in->n))
            return guest_usage(verb, "--count %s: a number is wanted", optarg);
        if (option == 't' && !guest_parse_ms(optarg, &in->timeout_ms))
            return guest_usage(verb, "--timeout %s: a time is wanted, as in 250ms, 10s or 2m", optarg);
        if (option == 'f' && !guest_parse_format(optarg, &in->json))
            return guest_usage(verb, "--format %s: text or json is wanted", optarg);
        if (option == 'j')
            in->json = true;
        if (option == '?')
            return guest_usage(verb, "unknown option, or an option without its value");
    }
    *ret_rest = optind;
    return 0;
}
