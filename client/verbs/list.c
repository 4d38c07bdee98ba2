// envctl list: the environments of all tenants or of one.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "pages.h"
#include "proto/name.h"
#include "verbs/verbs.h"

static const struct format_column columns[] = {
    {"TENANT", "tenant"},
    {"NAME", "name"},
    {"STATE", "status.state"},
    {"IPV4", "status.ipv4"},
    {"MEMORY-MIB", "spec.memory_mib"},
    {"REASON", "status.reason.text"},
};

int verb_list(struct cli *cli, int argc, char **argv)
{
    const char *selector = NULL;
    const struct cli_option options[] = {{"selector", 'l', CLI_STRING, &selector}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n > 1 || (n == 1 && !name_valid(argv[0], strlen(argv[0]))))
        return cli_usage(cli);
    char path[512] = "/v1/environments";
    char query[256];
    if (n == 1)
        snprintf(path, sizeof path, "/v1/tenants/%s/environments", argv[0]);
    if (selector && !query_encode(selector, query, sizeof query))
        return cli_fail(cli, CLI_USAGE, "--selector is too long");
    if (selector)
        snprintf(path + strlen(path), sizeof path - strlen(path), "?selector=%s", query);
    return pages_show(cli, path, columns, sizeof columns / sizeof columns[0]);
}
