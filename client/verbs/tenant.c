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
    {"VCPUS", "status.vcpus"},
    {"DISK-MIB", "status.disk_mib"},
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

struct quota {
    const char *environments, *memory, *vcpus, *disk;
};

static int quota_number(struct cli *cli, const char *option, const char *text, json_t *quota,
                        const char *member)
{
    unsigned n;
    char more;
    if (text && sscanf(text, "%u%c", &n, &more) != 1)
        return cli_fail(cli, CLI_USAGE, "--%s %s: a number", option, text);
    if (text)
        json_object_set_new(quota, member, json_integer(n));
    return 0;
}

static int quota_size(struct cli *cli, const char *option, const char *text, json_t *quota,
                      const char *member)
{
    uint32_t mib;
    if (text && !size_parse_mib(text, &mib))
        return cli_fail(cli, CLI_USAGE, "--%s %s: a size like 512MiB or 4GiB", option, text);
    if (text)
        json_object_set_new(quota, member, json_integer(mib));
    return 0;
}

static int tenant_create(struct cli *cli, const char *name, const struct quota *q)
{
    json_t *quota = json_object();
    int rc = quota_number(cli, "max-environments", q->environments, quota, "environments");
    if (rc == 0)
        rc = quota_size(cli, "max-memory", q->memory, quota, "memory_mib");
    if (rc == 0)
        rc = quota_number(cli, "max-vcpus", q->vcpus, quota, "vcpus");
    if (rc == 0)
        rc = quota_size(cli, "max-disk", q->disk, quota, "disk_mib");
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
    struct quota quota = {0};
    const struct cli_option options[] = {{"max-environments", 0, CLI_STRING, &quota.environments},
                                         {"max-memory", 0, CLI_STRING, &quota.memory},
                                         {"max-vcpus", 0, CLI_STRING, &quota.vcpus},
                                         {"max-disk", 0, CLI_STRING, &quota.disk}};
    int n, rest;
    int rc = cli_options(cli, options, 4, argc, argv, &n, &rest);
    if (rc != 0)
        return rc;
    if (n == 1 && strcmp(argv[0], "list") == 0)
        return tenant_list(cli);
    if (n == 2 && strcmp(argv[0], "create") == 0)
        return tenant_create(cli, argv[1], &quota);
    if (n == 2 && strcmp(argv[0], "delete") == 0)
        return tenant_delete(cli, argv[1]);
    return cli_usage(cli);
}
