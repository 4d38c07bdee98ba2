// envctl create: uploads what is missing, makes the environment, starts it when asked.
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "image.h"
#include "size.h"
#include "verbs/verbs.h"

struct create {
    const char *program, *files, *memory, *cpu_weight, *restart;
    struct cli_list env, labels;
    bool start;
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
    return 0;
}

// The request's body in *ret_body (owned by the caller).
static int build_body(struct cli *cli, const struct create *c, const char *name, char **args, int n_args,
                      json_t **ret_body)
{
    json_t *spec = json_pack("{s:s, s:b, s:[]}", "kind", "cell", "run", c->start, "args");
    json_t *env = json_object();
    const char *slash = strrchr(c->program, '/');
    json_t *labels = json_object();
    *ret_body = json_pack("{s:s, s:o, s:o}", "name", name, "labels", labels, "spec", spec);
    json_object_set_new(spec, "env", env);
    json_object_set_new(spec, "argv0", json_string(slash ? slash + 1 : c->program));
    for (int i = 0; i < n_args; i++)
        if (json_array_append_new(json_object_get(spec, "args"), json_string(args[i])) < 0)
            return cli_fail(cli, CLI_USAGE, "argument %d is not valid UTF-8", i + 1);
    int rc = pairs_to_object(cli, "env", &c->env, env);
    if (rc == 0)
        rc = pairs_to_object(cli, "label", &c->labels, labels);
    if (rc == 0)
        rc = fill_limits(cli, c, spec);
    if (rc == 0)
        rc = fill_images(cli, c, spec);
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

int verb_create(struct cli *cli, int argc, char **argv)
{
    struct create c = {0};
    const struct cli_option options[] = {
        {"program", 'p', CLI_STRING, &c.program}, {"files", 0, CLI_STRING, &c.files},
        {"memory", 'm', CLI_STRING, &c.memory},   {"cpu-weight", 0, CLI_STRING, &c.cpu_weight},
        {"env", 'e', CLI_LIST, &c.env},           {"label", 'l', CLI_LIST, &c.labels},
        {"restart", 0, CLI_STRING, &c.restart},   {"start", 0, CLI_FLAG, &c.start},
    };
    int n, rest;
    int rc = cli_options(cli, options, sizeof options / sizeof options[0], argc, argv, &n, &rest);
    if (rc == 0 && (n != 1 || !c.program))
        rc = cli_usage(cli);
    if (rc == 0)
        rc = create(cli, &c, argv[0], rest < 0 ? NULL : argv + rest, rest < 0 ? 0 : argc - rest);
    cli_list_free(&c.env);
    cli_list_free(&c.labels);
    return rc;
}
