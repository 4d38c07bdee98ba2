// envctl create: uploads what is missing, makes the environment, starts it when asked.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "image.h"
#include "size.h"
#include "verbs/verbs.h"

struct create {
    const char *kind, *program, *files, *memory, *cpu_weight, *restart, *mailbox;
    const char *image, *vcpus, *disk, *cmdline, *watchdog;
    struct cli_list env, labels, volumes, limits;
    bool start, linux_kind;
};

// "KEY=VALUE" items as an object.
static int pairs_to_object(struct cli *cli, const char *option, const struct cli_list *list, json_t *object)
{
    char key[256];
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strchr(list->items[i], '=');
        size_t len = equals ? (size_t)(equals - list->items[i]) : 0;
        if (len == 0 || len >= sizeof key)
            return cli_fail(cli, CLI_USAGE, "--%s %s: not of the form KEY=VALUE", option, list->items[i]);
        memcpy(key, list->items[i], len);
        key[len] = '\0';
        if (json_object_set_new(object, key, json_string(equals + 1)) < 0)
            return cli_fail(cli, CLI_USAGE, "--%s %s: not valid UTF-8", option, list->items[i]);
    }
    return 0;
}

static int fill_images(struct cli *cli, const struct create *c, json_t *spec)
{
    char digest[IMAGE_DIGEST_CAP];
    int rc = image_put_file(cli, c->program, digest);
    if (rc != 0)
        return rc;
    json_object_set_new(spec, "program", json_string(digest));
    if (c->files) {
        rc = image_put_files(cli, c->files, digest);
        if (rc == 0)
            json_object_set_new(spec, "archive", json_string(digest));
    }
    return rc;
}

static int fill_number(struct cli *cli, const char *option, const char *text, unsigned max, json_t *spec,
                       const char *member)
{
    unsigned n;
    char more;
    if (!text)
        return 0;
    if (sscanf(text, "%u%c", &n, &more) != 1 || n > max)
        return cli_fail(cli, CLI_USAGE, "--%s %s: a number up to %u", option, text, max);
    json_object_set_new(spec, member, json_integer(n));
    return 0;
}

// Where each --limit goes in the spec.
static const struct {
    const char *name, *device, *member;
} limits[] = {
    {"net-packets", "net", "packets_per_s"},
    {"net-bits", "net", "bits_per_s"},
    {"disk-requests", "disk", "requests_per_s"},
    {"disk-bytes", "disk", "bytes_per_s"},
};

// One "NAME=NUMBER", as net-bits=100000000.
static int fill_limit(struct cli *cli, const char *text, json_t *all)
{
    char name[32];
    unsigned long long n;
    char more;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (sscanf(text, "%31[^=]=%llu%c", name, &n, &more) != 2 || strcmp(name, limits[i].name) != 0)
            continue;
        json_t *device = json_object_get(all, limits[i].device);
        if (!device) {
            device = json_object();
            json_object_set_new(all, limits[i].device, device);
        }
        json_object_set_new(device, limits[i].member, json_integer((json_int_t)n));
        return 0;
    }
    return cli_fail(cli, CLI_USAGE,
                    "--limit %s: net-packets, net-bits, disk-requests or disk-bytes, = and a number a second",
                    text);
}

static int fill_rates(struct cli *cli, const struct create *c, json_t *spec)
{
    if (c->limits.n == 0)
        return 0;
    json_t *all = json_object();
    json_object_set_new(spec, "limits", all);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < c->limits.n; i++)
        rc = fill_limit(cli, c->limits.items[i], all);
    return rc;
}

// One "NAME=SIZE".
static int fill_volume(struct cli *cli, const char *text, json_t *volumes)
{
    const char *equals = strchr(text, '=');
    uint32_t mib;
    if (!equals || !size_parse_mib(equals + 1, &mib))
        return cli_fail(cli, CLI_USAGE, "--volume %s: of the form NAME=SIZE, as data=10GiB", text);
    json_t *volume =
        json_pack("{s:s%, s:I}", "name", text, (size_t)(equals - text), "size_mib", (json_int_t)mib);
    if (!volume)
        return cli_fail(cli, CLI_USAGE, "--volume %s: names are plain ASCII", text);
    json_array_append_new(volumes, volume);
    return 0;
}

static int fill_linux(struct cli *cli, const struct create *c, json_t *spec)
{
    char digest[IMAGE_DIGEST_CAP];
    uint32_t mib;
    int rc = image_resolve(cli, c->image, digest);
    if (rc != 0)
        return rc;
    json_object_set_new(spec, "image", json_string(digest));
    if (c->disk && !size_parse_mib(c->disk, &mib))
        return cli_fail(cli, CLI_USAGE, "--disk %s: a size like 10GiB", c->disk);
    if (c->disk)
        json_object_set_new(spec, "disk_mib", json_integer(mib));
    if (c->cmdline && json_object_set_new(spec, "cmdline", json_string(c->cmdline)) < 0)
        return cli_fail(cli, CLI_USAGE, "--cmdline is not valid UTF-8");
    if (c->volumes.n > 0)
        json_object_set_new(spec, "volumes", json_array());
    for (size_t i = 0; rc == 0 && i < c->volumes.n; i++)
        rc = fill_volume(cli, c->volumes.items[i], json_object_get(spec, "volumes"));
    if (rc == 0)
        rc = fill_number(cli, "vcpus", c->vcpus, 16, spec, "vcpus");
    return rc ? rc : fill_number(cli, "watchdog", c->watchdog, 86400, spec, "watchdog_s");
}

static int fill_limits(struct cli *cli, const struct create *c, json_t *spec)
{
    uint32_t mib;
    if (c->memory && !size_parse_mib(c->memory, &mib))
        return cli_fail(cli, CLI_USAGE, "--memory %s: a size like 64MiB or 1GiB", c->memory);
    if (c->memory)
        json_object_set_new(spec, "memory_mib", json_integer(mib));
    unsigned weight;
    char more;
    if (c->cpu_weight && sscanf(c->cpu_weight, "%u%c", &weight, &more) != 1)
        return cli_fail(cli, CLI_USAGE, "--cpu-weight %s: a number from 1 to 10000", c->cpu_weight);
    if (c->cpu_weight)
        json_object_set_new(spec, "cpu_weight", json_integer(weight));
    if (c->restart)
        json_object_set_new(spec, "restart", json_string(c->restart));
    if (c->mailbox)
        json_object_set_new(spec, "mailbox", json_string(c->mailbox));
    return 0;
}

static int fill_cell(struct cli *cli, const struct create *c, char **args, int n_args, json_t *spec)
{
    json_t *list = json_array(), *env = json_object();
    const char *slash = strrchr(c->program, '/');
    json_object_set_new(spec, "args", list);
    json_object_set_new(spec, "env", env);
    json_object_set_new(spec, "argv0", json_string(slash ? slash + 1 : c->program));
    for (int i = 0; i < n_args; i++)
        if (json_array_append_new(list, json_string(args[i])) < 0)
            return cli_fail(cli, CLI_USAGE, "argument %d is not valid UTF-8", i + 1);
    int rc = pairs_to_object(cli, "env", &c->env, env);
    return rc ? rc : fill_images(cli, c, spec);
}

// The request's body in *ret_body (owned by the caller).
static int build_body(struct cli *cli, const struct create *c, const char *name, char **args, int n_args,
                      json_t **ret_body)
{
    json_t *spec = json_pack("{s:s, s:b}", "kind", c->linux_kind ? "linux" : "cell", "run", c->start);
    json_t *labels = json_object();
    *ret_body = json_pack("{s:s, s:o, s:o}", "name", name, "labels", labels, "spec", spec);
    int rc = pairs_to_object(cli, "label", &c->labels, labels);
    if (rc == 0)
        rc = fill_limits(cli, c, spec);
    if (rc == 0)
        rc = fill_rates(cli, c, spec);
    if (rc == 0)
        rc = c->linux_kind ? fill_linux(cli, c, spec) : fill_cell(cli, c, args, n_args, spec);
    return rc;
}

static int create(struct cli *cli, const struct create *c, const char *address, char **args, int n_args)
{
    char path[API_PATH_CAP];
    int rc = api_environment_path(cli, address, "", path);
    if (rc != 0)
        return rc;
    char *name = strrchr(path, '/');
    *name = '\0'; // path is the collection now
    json_t *body = NULL;
    rc = build_body(cli, c, name + 1, args, n_args, &body);
    if (rc != 0) {
        json_decref(body);
        return rc;
    }
    struct api_reply reply;
    rc = api_call(cli, "POST", path, body, NULL, &reply);
    if (rc != 0)
        return rc;
    char what[160];
    snprintf(what, sizeof what, "start %s", address);
    if (c->start && reply.operation[0])
        rc = api_wait(cli, reply.operation, what);
    if (rc == 0 && cli->json)
        format_json(reply.body);
    else if (rc == 0)
        fprintf(stderr, "%s %s\n", address, !c->start ? "created" : cli->wait ? "started" : "starting");
    api_reply_done(&reply);
    return rc;
}

// An option of the other kind is a mistake, and the kind follows from what it is made from.
static int check_kind(struct cli *cli, struct create *c, bool has_rest)
{
    c->linux_kind = c->kind ? strcmp(c->kind, "linux") == 0 : c->image != NULL;
    if (c->kind && !c->linux_kind && strcmp(c->kind, "cell") != 0)
        return cli_fail(cli, CLI_USAGE, "--kind %s: cell or linux", c->kind);
    if (c->linux_kind ? !c->image : !c->program)
        return cli_usage(cli);
    const char *of_cell = c->program     ? "--program"
                          : c->files     ? "--files"
                          : c->env.n > 0 ? "--env"
                          : has_rest     ? "what follows --"
                                         : NULL;
    const char *of_linux = c->image           ? "--image"
                           : c->vcpus         ? "--vcpus"
                           : c->disk          ? "--disk"
                           : c->cmdline       ? "--cmdline"
                           : c->watchdog      ? "--watchdog"
                           : c->volumes.n > 0 ? "--volume"
                                              : NULL;
    const char *wrong = c->linux_kind ? of_cell : of_linux;
    return wrong ? cli_fail(cli, CLI_USAGE, "%s is not for environments of kind %s", wrong,
                            c->linux_kind ? "linux" : "cell")
                 : 0;
}

int verb_create(struct cli *cli, int argc, char **argv)
{
    struct create c = {0};
    const struct cli_option options[] = {
        {"kind", 0, CLI_STRING, &c.kind},         {"image", 'i', CLI_STRING, &c.image},
        {"vcpus", 0, CLI_STRING, &c.vcpus},       {"disk", 0, CLI_STRING, &c.disk},
        {"volume", 0, CLI_LIST, &c.volumes},      {"cmdline", 0, CLI_STRING, &c.cmdline},
        {"watchdog", 0, CLI_STRING, &c.watchdog}, {"limit", 0, CLI_LIST, &c.limits},
        {"program", 'p', CLI_STRING, &c.program}, {"files", 0, CLI_STRING, &c.files},
        {"memory", 'm', CLI_STRING, &c.memory},   {"cpu-weight", 0, CLI_STRING, &c.cpu_weight},
        {"env", 'e', CLI_LIST, &c.env},           {"label", 'l', CLI_LIST, &c.labels},
        {"restart", 0, CLI_STRING, &c.restart},   {"mailbox", 0, CLI_STRING, &c.mailbox},
        {"start", 0, CLI_FLAG, &c.start},
    };
    int n, rest;
    int rc = cli_options(cli, options, sizeof options / sizeof options[0], argc, argv, &n, &rest);
    if (rc == 0 && n != 1)
        rc = cli_usage(cli);
    if (rc == 0)
        rc = check_kind(cli, &c, rest >= 0);
    if (rc == 0)
        rc = create(cli, &c, argv[0], rest < 0 ? NULL : argv + rest, rest < 0 ? 0 : argc - rest);
    cli_list_free(&c.env);
    cli_list_free(&c.labels);
    cli_list_free(&c.volumes);
    cli_list_free(&c.limits);
    return rc;
}
