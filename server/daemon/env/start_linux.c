// Owns the start of an environment of kind linux up to the request for its virtual machine: its image's parts
// are opened and checked, then its disks are opened or made, both on threads. Called by run.c; the request is
// spawn.c's.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "env/disks.h"
#include "env/internal.h"
#include "env/measure.h"
#include "env/spawn.h"

// Between the start and its request the environment may go away: then env is NULL, and what comes from the
// thread is thrown away.
struct linux_start {
    struct file_work work; // first: the worker hands it back
    struct env *env;
    struct manifest manifest;
    struct images_opening *opening; // until the parts are open
    int parts[MANIFEST_PARTS];      // -1: there is none
    // What the thread needs, as copies.
    char state[PATH_MAX], tenant[NAME_CAP], name[NAME_CAP], uid[ID_TEXT_CAP];
    char volume_names[SPEC_VOLUMES_MAX][VMCTL_DISK_ID_MAX + 1];
    struct env_volume volumes[SPEC_VOLUMES_MAX];
    size_t n_volumes;
    uint64_t disk_bytes;
    // And what it makes.
    int disks[DISKS_FDS_MAX];
    size_t n_disks;
    struct err err;
};

static void start_free(struct linux_start *s)
{
    for (size_t i = 0; i < MANIFEST_PARTS; i++)
        if (s->parts[i] >= 0)
            close(s->parts[i]);
    for (size_t i = 0; i < s->n_disks; i++)
        close(s->disks[i]);
    manifest_done(&s->manifest);
    free(s);
}

// The end of a start that goes no further, with outcome_reason set.
static void start_fail(struct linux_start *s)
{
    struct env *e = s->env;
    e->start = NULL;
    start_free(s);
    run_refused(e);
}

static void raw_digest(const char *digest, uint8_t out[DISKS_ID_BYTES])
{
    const char *hex = strchr(digest, ':') + 1;
    for (size_t i = 0; i < DISKS_ID_BYTES; i++)
        sscanf(hex + 2 * i, "%2hhx", &out[i]);
}

// --- the request ---

static void describe_disks(const struct linux_start *s, const struct env_spec *spec,
                           struct spawn_guest *guest)
{
    bool has_root = s->parts[MANIFEST_DISK] >= 0;
    for (size_t i = 0; i < s->n_disks; i++) {
        bool is_root = has_root && i == 0;
        const char *id = is_root ? "root" : s->volumes[i - has_root].name;
        if (is_root)
            guest->fds[guest->n_fds++] = s->parts[MANIFEST_DISK];
        guest->fds[guest->n_fds++] = s->disks[i];
        guest->disks[guest->n_disks++] = (struct vmctl_disk){.flags = is_root ? VMCTL_DISK_OVERLAY : 0,
                                                             .id = {(const uint8_t *)id, strlen(id)},
                                                             .requests_per_s = spec->disk_requests_per_s,
                                                             .bytes_per_s = spec->disk_bytes_per_s};
    }
}

static void request(struct linux_start *s)
{
    struct env *e = s->env;
    char cmdline[2 * (VMCTL_CMDLINE_MAX + 1)]; // both together fit VMCTL_CMDLINE_MAX: specs are checked
    struct spawn_guest guest = {.cmdline = cmdline, .has_initrd = s->parts[MANIFEST_INITRD] >= 0};
    snprintf(cmdline, sizeof cmdline, "%s%s%s", s->manifest.cmdline,
             s->manifest.cmdline[0] && e->spec.cmdline ? " " : "", e->spec.cmdline ? e->spec.cmdline : "");
    int log = spawn_open_log(e, &e->outcome_reason);
    if (log < 0) {
        start_fail(s);
        return;
    }
    guest.fds[guest.n_fds++] = s->parts[MANIFEST_KERNEL];
    guest.fds[guest.n_fds++] = log;
    if (guest.has_initrd)
        guest.fds[guest.n_fds++] = s->parts[MANIFEST_INITRD];
    describe_disks(s, &e->spec, &guest);
    int rc = measure_linux(e->spec.image, &s->manifest, cmdline, e->measurement);
    if (rc == 0)
        rc = spawn_linux(e, &guest);
    close(log);
    if (rc < 0) {
        reason_set(&e->outcome_reason, "spawn-refused", "the privileged helper cannot be asked: %s",
                   strerror(-rc));
        start_fail(s);
        return;
    }
    e->start = NULL;
    start_free(s);
}

// --- disks ---

static int run_disks(struct file_work *work)
{
    struct linux_start *s = (struct linux_start *)work;
    struct disks_owner owner = {s->state, s->tenant, s->name, s->uid};
    struct disks_root root = {.base_fd = s->parts[MANIFEST_DISK], .bytes = s->disk_bytes};
    if (root.base_fd >= 0)
        raw_digest(s->manifest.parts[MANIFEST_DISK], root.base_id);
    return disks_open(&owner, &root, s->volumes, s->n_volumes, s->disks, &s->n_disks, &s->err);
}

static void on_disks(struct file_work *work, int rc)
{
    struct linux_start *s = (struct linux_start *)work;
    struct env *e = s->env;
    if (!e) {
        start_free(s);
        return;
    }
    if (e->state != ENV_STARTING) {
        start_fail(s); // it was told to stop meanwhile
        return;
    }
    if (rc == 0) {
        request(s);
        return;
    }
    bool full = rc == -ENOSPC || rc == -EDQUOT;
    reason_set(&e->outcome_reason, full ? "disk-full" : "disk-unavailable", "%s", s->err.text);
    start_fail(s);
}

static void copy_for_thread(struct linux_start *s)
{
    const struct env *e = s->env;
    snprintf(s->state, sizeof s->state, "%s", e->manager->config.state_folder);
    snprintf(s->tenant, sizeof s->tenant, "%s", e->tenant);
    snprintf(s->name, sizeof s->name, "%s", e->name);
    snprintf(s->uid, sizeof s->uid, "%s", e->uid);
    s->disk_bytes = (uint64_t)e->spec.disk_mib << 20;
    for (; s->n_volumes < e->spec.n_volumes; s->n_volumes++) {
        size_t i = s->n_volumes;
        snprintf(s->volume_names[i], sizeof s->volume_names[i], "%s", e->spec.volumes[i].name);
        s->volumes[i] = (struct env_volume){s->volume_names[i], e->spec.volumes[i].size_mib};
    }
}

// --- the image's parts ---

static void on_parts(void *arg, struct images_opened *result)
{
    struct linux_start *s = arg;
    struct env *e = s->env;
    s->opening = NULL;
    if (result->rc == -EBADMSG)
        reason_set(&e->outcome_reason, "image-corrupt", "the bytes of its image's part %s have changed",
                   result->digest);
    else if (result->rc < 0)
        reason_set(&e->outcome_reason, "image-missing", "its image's part %s cannot be read (%s)",
                   result->digest, strerror(-result->rc));
    if (result->rc < 0 || e->state != ENV_STARTING) {
        start_fail(s);
        return;
    }
    for (size_t part = 0, i = 0; part < MANIFEST_PARTS; part++)
        if (s->manifest.parts[part][0])
            s->parts[part] = take_fd(&result->fds[i++]);
    copy_for_thread(s);
    s->work.run = run_disks;
    s->work.done = on_disks;
    file_worker_submit(e->manager->worker, &s->work);
}

int start_linux(struct env *e, struct reason *ret_reason)
{
    struct manager *m = e->manager;
    struct err err;
    start_linux_cancel(e);
    // The parts do not run on emulated CPL0, and the guest would hang rather than say so.
    if (strcmp(m->facts.kvm, "pvm") == 0) {
        reason_set(ret_reason, "no-hardware-kvm",
                   "this host's KVM has no hardware virtualization behind it (KVM-PVM): an unmodified Linux "
                   "kernel does not run on it, cells do");
        return -ENOTSUP;
    }
    struct linux_start *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->env = e;
    for (size_t i = 0; i < MANIFEST_PARTS; i++)
        s->parts[i] = -1;
    int rc = image_manifest(m->deps.store, e->spec.image, &s->manifest, &err);
    if (rc < 0) {
        reason_set(ret_reason, "image-missing", "%s", err.text);
        free(s);
        return rc;
    }
    const char *digests[MANIFEST_PARTS];
    size_t n = 0;
    for (size_t part = 0; part < MANIFEST_PARTS; part++)
        if (s->manifest.parts[part][0])
            digests[n++] = s->manifest.parts[part];
    s->opening = images_open_verified(m->deps.images, digests, n, on_parts, s);
    if (!s->opening) {
        start_free(s);
        return -ENOMEM;
    }
    e->start = s;
    return 0;
}

void start_linux_cancel(struct env *e)
{
    struct linux_start *s = e->start;
    e->start = NULL;
    if (s && s->opening) {
        images_opening_cancel(s->opening);
        start_free(s);
    } else if (s) {
        s->env = NULL; // with the thread, which gives it back
    }
}
