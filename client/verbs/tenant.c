// envctl tenant: makes, lists and removes tenants.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "pages.h"
#include "proto/name.h"
#include "size.h"
#include "verbs/verbs.h"

static const struct format_column columns[] = {
    {"NAME", "name"},
    {"SUBNET", "status.subnet"},
    {"ENVIRONMENTS", "status.environments"},
    {"MEMORY-MIB", "status.memory_mib"},
};

static int tenant_list(struct cli *cli)
{
    return pages_show(cli, "/v1/tenants", columns, sizeof columns / sizeof columns[0]);
}

static int done(struct cli *cli, int rc, struct api_reply *reply, const char *name, const char *what)
{
    if (rc != 0)
        return rc;
    if (cli->json && reply->body)
        format_json(reply->body);
    else
        fprintf(stderr, "tenant %s %s\n", name, what);
    api_reply_done(reply);
    return 0;
}

static int tenant_create(struct cli *cli, const char *name, const char *environments, const char *memory)
{
    json_t *quota = json_object();
    unsigned n;
    uint32_t mib;
    char more;
    int rc = 0;
    if (environments && sscanf(environments, "%u%c", &n, &more) != 1)
        rc = cli_fail(cli, CLI_USAGE, "--max-environments %s: a number", environments);
    else if (environments)
        json_object_set_new(quota, "environments", json_integer(n));
    if (memory && !size_parse_mib(memory, &mib))
        rc = cli_fail(cli, CLI_USAGE, "--max-memory %s: a size like 512MiB or 4GiB", memory);
    else if (memory)
        json_object_set_new(quota, "memory_mib", json_integer(mib));
    json_t *body = json_pack("{s:s, s:{s:o}}", "name", name, "spec", "quota", quota);
    if (rc != 0 || !body) {
        json_decref(body);
        return rc ? rc : cli_fail(cli, CLI_USAGE, "names are plain ASCII");
    }
    struct api_reply reply;
    rc = api_call(cli, "POST", "/v1/tenants", body, NULL, &reply);
    return done(cli, rc, &reply, name, "created");
}

static int tenant_delete(struct cli *cli, const char *name)
{
    char path[API_PATH_CAP];
    if (!name_valid(name, strlen(name)))
        return cli_fail(cli, CLI_USAGE, "%s is no tenant's name", name);
    snprintf(path, sizeof path, "/v1/tenants/%s", name);
    struct api_reply reply;
    int rc = api_call(cli, "DELETE", path, NULL, NULL, &reply);
    return done(cli, rc, &reply, name, "deleted");
}

int verb_tenant(struct cli *cli, int argc, char **argv)
{
    const char *environments = NULL, *memory = NULL;
    const struct cli_option options[] = {{"max-environments", 0, CLI_STRING, &environments},
                                         {"max-memory", 0, CLI_STRING, &memory}};
    int n, rest;
    int rc = cli_options(cli, options, 2, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n == 1 && strcmp(argv[0], "list") == 0)
        return tenant_list(cli);
    if (n == 2 && strcmp(argv[0], "create") == 0)
        return tenant_create(cli, argv[1], environments, memory);
    if (n == 2 && strcmp(argv[0], "delete") == 0)
        return tenant_delete(cli, argv[1]);
    return cli_usage(cli);
}
