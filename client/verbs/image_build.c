// envctl image build: a disk, kernel and initrd from a folder, a tar or an OCI image; stored, or written to a
// file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "format.h"
#include "image.h"
#include "image/build.h"
#include "progress.h"
#include "size.h"
#include "verbs/image_options.h"

static void on_progress(void *arg, uint64_t bytes)
{
    (void)arg;
    progress_show("build", bytes, 0);
}

static int read_options(struct cli *cli, const struct image_options *o, struct build_options *ret)
{
    uint32_t mib;
    char more;
    unsigned long long n;
    if (o->size && (!size_parse_mib(o->size, &mib) || mib == 0))
        return cli_fail(cli, CLI_USAGE, "--size %s: a size like 512MiB or 4GiB", o->size);
    ret->size_bytes = o->size ? (uint64_t)mib << 20 : 0;
    if (o->max_size && (!size_parse_mib(o->max_size, &mib) || mib == 0))
        return cli_fail(cli, CLI_USAGE, "--max-size %s: a size like 512MiB or 4GiB", o->max_size);
    ret->limits.max_bytes = o->max_size ? (uint64_t)mib << 20 : 0;
    if (o->max_files && (sscanf(o->max_files, "%llu%c", &n, &more) != 1 || n == 0))
        return cli_fail(cli, CLI_USAGE, "--max-files %s: a number", o->max_files);
    ret->limits.max_files = o->max_files ? n : 0;
    if (o->no_disk && (!o->kernel || !o->initrd) && !o->kernel_from)
        return cli_fail(cli, CLI_USAGE,
                        "--no-disk needs --kernel FILE and --initrd FILE, or --kernel-from IMAGE");
    if (o->kernel_from && (o->kernel || o->initrd))
        return cli_fail(cli, CLI_USAGE, "--kernel-from stands for --kernel and --initrd both");
    return 0;
}

static int add_labels(struct cli *cli, const struct cli_list *list, struct manifest *m)
{
    m->labels = json_object();
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (!equals || equals == list->items[i])
            return cli_fail(cli, CLI_USAGE, "--label %s: not of the form KEY=VALUE", list->items[i]);
        char *key = strndup(list->items[i], (size_t)(equals - list->items[i]));
        int bad = !key || json_object_set_new(m->labels, key, json_string(equals + 1)) < 0;
        free(key);
        if (bad)
            return cli_fail(cli, CLI_USAGE, "--label %s: not valid UTF-8", list->items[i]);
    }
    return 0;
}

// Kernel and initrd of another image: only their digests are needed when the image stays on the server.
static int take_from(struct cli *cli, const struct image_options *o, struct linux_image *image)
{
    char digest[IMAGE_DIGEST_CAP];
    struct linux_image from;
    unsigned parts = o->output ? 1u << MANIFEST_KERNEL | 1u << MANIFEST_INITRD : 0;
    int rc = image_resolve(cli, o->kernel_from, digest);
    if (rc != 0)
        return rc;
    rc = image_get_parts(cli, digest, parts, &from);
    for (int part = MANIFEST_KERNEL; rc == 0 && part <= MANIFEST_INITRD; part++) {
        memcpy(image->manifest.parts[part], from.manifest.parts[part], MANIFEST_DIGEST_CAP);
        image->fds[part] = from.fds[part];
        from.fds[part] = -1;
    }
    linux_image_done(&from);
    return rc;
}

static int store(struct cli *cli, const struct image_options *o, const struct linux_image *image)
{
    char digest[IMAGE_DIGEST_CAP], path[API_PATH_CAP];
    struct api_reply reply;
    int rc = image_put_linux(cli, image, o->name, digest);
    if (rc != 0 || !cli->json) {
        if (rc == 0)
            printf("%s\n", digest);
        return rc;
    }
    snprintf(path, sizeof path, "/v1/images/%s", digest);
    rc = api_call(cli, "GET", path, NULL, NULL, &reply);
    if (rc == 0) {
        format_json(reply.body);
        api_reply_done(&reply);
    }
    return rc;
}

int image_verb_build(struct cli *cli, const struct image_options *o, const char *source)
{
    struct build_options options = {.source = source,
                                    .kernel = o->kernel,
                                    .initrd = o->initrd,
                                    .kernel_elsewhere = o->kernel_from != NULL,
                                    .cmdline = o->cmdline,
                                    .progress = on_progress};
    struct linux_image image;
    struct err err;
    int rc = read_options(cli, o, &options);
    if (rc != 0)
        return rc;
    rc = build_image(&options, &image, &err);
    progress_end();
    if (rc < 0)
        return cli_fail(cli, CLI_ERROR, "build: %s", err.text);
    rc = add_labels(cli, &o->labels, &image.manifest);
    if (rc == 0 && o->kernel_from)
        rc = take_from(cli, o, &image);
    if (rc == 0)
        rc = o->output ? image_write_file(cli, &image, o->output) : store(cli, o, &image);
    linux_image_done(&image);
    return rc;
}
