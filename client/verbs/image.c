// envctl image: builds (image_build.c), imports, exports, lists, shows, deletes and collects images.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "common/cleanup.h"
#include "format.h"
#include "image.h"
#include "image/bundle.h"
#include "pages.h"
#include "size.h"
#include "verbs/image_options.h"
#include "verbs/verbs.h"

#define ALL_PARTS     ((1u << MANIFEST_PARTS) - 1)
#define OLDER_DEFAULT 3600 // so that what is just being uploaded is spared

static const struct format_column columns[] = {
    {"NAME", "spec.name"},         {"TYPE", "status.type"}, {"SIZE", "status.size"},
    {"USED-BY", "status.used_by"}, {"DIGEST", "name"},
};

static int list(struct cli *cli, const struct image_options *o)
{
    json_t *items, *each, *shown = json_array();
    size_t i;
    int rc = pages_get(cli, "/v1/images", &items);
    if (rc != 0) {
        json_decref(shown);
        return rc;
    }
    json_array_foreach(items, i, each)
    {
        const char *type = json_string_value(json_object_get(json_object_get(each, "status"), "type"));
        if (!o->type || (type && strcmp(type, o->type) == 0))
            json_array_append(shown, each);
    }
    if (cli->json)
        format_json(shown);
    else
        format_table(shown, columns, sizeof columns / sizeof columns[0]);
    json_decref(items);
    json_decref(shown);
    return 0;
}

static int show(struct cli *cli, const char *text)
{
    char digest[IMAGE_DIGEST_CAP], path[API_PATH_CAP];
    int rc = image_resolve(cli, text, digest);
    if (rc != 0)
        return rc;
    snprintf(path, sizeof path, "/v1/images/%s", digest);
    return api_show(cli, path);
}

static int delete_all(struct cli *cli, char **names, int n)
{
    for (int i = 0; i < n; i++) {
        char digest[IMAGE_DIGEST_CAP], path[API_PATH_CAP];
        struct api_reply reply;
        int rc = image_resolve(cli, names[i], digest);
        if (rc != 0)
            return rc;
        snprintf(path, sizeof path, "/v1/images/%s", digest);
        rc = api_call(cli, "DELETE", path, NULL, NULL, &reply);
        if (rc != 0)
            return rc;
        api_reply_done(&reply);
        fprintf(stderr, "image %s deleted\n", names[i]);
    }
    return 0;
}

// --- collecting ---

static int collect(struct cli *cli, const struct image_options *o)
{
    unsigned age = OLDER_DEFAULT;
    char more;
    json_int_t n = 0, bytes = 0;
    json_t *removed = json_array();
    size_t n_now;
    if (o->older_than && sscanf(o->older_than, "%u%c", &age, &more) != 1)
        return cli_fail(cli, CLI_USAGE, "--older-than %s: a number of seconds", o->older_than);
    do {
        struct api_reply reply;
        json_t *body = json_pack("{s:I, s:b}", "older_than_s", (json_int_t)age, "all", o->all);
        int rc = api_call(cli, "POST", "/v1/images/gc", body, NULL, &reply);
        if (rc != 0) {
            json_decref(removed);
            return rc;
        }
        n_now = json_array_size(json_object_get(reply.body, "removed"));
        json_array_extend(removed, json_object_get(reply.body, "removed"));
        n += (json_int_t)n_now + json_integer_value(json_object_get(reply.body, "orphans"));
        bytes += json_integer_value(json_object_get(reply.body, "bytes"));
        api_reply_done(&reply);
    } while (n_now > 0);
    if (cli->json) {
        json_t *all = json_pack("{s:O, s:I}", "removed", removed, "bytes", bytes);
        format_json(all);
        json_decref(all);
    } else {
        fprintf(stderr, "%lld images and files deleted, %lld bytes\n", (long long)n, (long long)bytes);
    }
    json_decref(removed);
    return 0;
}

// --- files ---

int image_write_file(struct cli *cli, const struct linux_image *image, const char *path)
{
    struct err err;
    bool is_stdout = strcmp(path, "-") == 0;
    if (is_stdout && isatty(STDOUT_FILENO))
        return cli_hint(cli, cli_fail(cli, CLI_USAGE, "an image is not for a terminal"), "name a file");
    _cleanup_close_ int fd =
        is_stdout ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return cli_fail(cli, CLI_ERROR, "open %s: %s", path, strerror(errno));
    if (bundle_write(image, fd, &err) == 0)
        return 0;
    if (!is_stdout)
        unlink(path); // half an image is none
    return cli_fail(cli, CLI_ERROR, "%s: %s", path, err.text);
}

static int export_image(struct cli *cli, const char *text, const char *path)
{
    char digest[IMAGE_DIGEST_CAP];
    struct linux_image image;
    int rc = image_resolve(cli, text, digest);
    if (rc != 0)
        return rc;
    rc = image_get_parts(cli, digest, ALL_PARTS, &image);
    if (rc == 0)
        rc = image_write_file(cli, &image, path);
    linux_image_done(&image);
    return rc;
}

static int import_image(struct cli *cli, const struct image_options *o, const char *path)
{
    char digest[IMAGE_DIGEST_CAP];
    struct linux_image image;
    struct err err;
    uint32_t mib = 0;
    if (o->max_size && !size_parse_mib(o->max_size, &mib))
        return cli_fail(cli, CLI_USAGE, "--max-size %s: a size like 512MiB or 4GiB", o->max_size);
    _cleanup_close_ int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail(cli, CLI_ERROR, "open %s: %s", path, strerror(errno));
    if (bundle_read(fd, mib ? (uint64_t)mib << 20 : 64ull << 30, &image, &err) < 0)
        return cli_fail(cli, CLI_ERROR, "%s: %s", path, err.text);
    int rc = image_put_linux(cli, &image, o->name, digest);
    linux_image_done(&image);
    if (rc == 0)
        printf("%s\n", digest);
    return rc;
}

int verb_image(struct cli *cli, int argc, char **argv)
{
    struct image_options o = {0};
    const struct cli_option options[] = {
        {"kernel", 0, CLI_STRING, &o.kernel},
        {"initrd", 0, CLI_STRING, &o.initrd},
        {"kernel-from", 0, CLI_STRING, &o.kernel_from},
        {"no-disk", 0, CLI_FLAG, &o.no_disk},
        {"size", 0, CLI_STRING, &o.size},
        {"cmdline", 0, CLI_STRING, &o.cmdline},
        {"label", 'l', CLI_LIST, &o.labels},
        {"name", 0, CLI_STRING, &o.name},
        {"output", 'o', CLI_STRING, &o.output},
        {"max-size", 0, CLI_STRING, &o.max_size},
        {"max-files", 0, CLI_STRING, &o.max_files},
        {"type", 0, CLI_STRING, &o.type},
        {"older-than", 0, CLI_STRING, &o.older_than},
        {"all", 0, CLI_FLAG, &o.all},
    };
    int n, rest;
    int rc = cli_options(cli, options, sizeof options / sizeof options[0], argc, argv, &n, &rest);
    const char *verb = rc == 0 && n > 0 ? argv[0] : "";
    if (rc != 0)
        ; // said already
    else if (strcmp(verb, "build") == 0 && n == (o.no_disk ? 1 : 2))
        rc = image_verb_build(cli, &o, o.no_disk ? NULL : argv[1]);
    else if (strcmp(verb, "import") == 0 && n == 2)
        rc = import_image(cli, &o, argv[1]);
    else if (strcmp(verb, "export") == 0 && n == 3)
        rc = export_image(cli, argv[1], argv[2]);
    else if (strcmp(verb, "list") == 0 && n == 1)
        rc = list(cli, &o);
    else if (strcmp(verb, "show") == 0 && n == 2)
        rc = show(cli, argv[1]);
    else if (strcmp(verb, "delete") == 0 && n >= 2)
        rc = delete_all(cli, argv + 1, n - 1);
    else if (strcmp(verb, "gc") == 0 && n == 1)
        rc = collect(cli, &o);
    else
        rc = cli_usage(cli);
    cli_list_free(&o.labels);
    return rc;
}
