// Owns what is handed to envpriv for a start. Called by run.c; the answer comes to manager.c.
#include "env/spawn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "env/logfile.h"
#include "env/measure.h"

// What a monitor needs beyond its guest's memory: its own heap; what the host has not yet read of 64 vsock
// connections, up to 6 MiB there and 13 MiB in their sockets; the kernel's share of KVM; and of kind linux
// for each vCPU its stack and state, for the memory its page tables twice over and KVM's notes on pages.
#define MONITOR_BYTES    (24u << 20)
#define VCPU_BYTES       (1u << 20)
#define PAGE_TABLE_SHARE 128
#define MONITOR_PIDS     16
#define LINUX_PIDS       128 // vCPUs, and the threads that io_uring makes for files
#define CELL_FDS         4   // of SPAWN: kernel, program, log[, archive]
#define VIEW(s)          ((struct wire_view){(const uint8_t *)(s), strlen(s)})

static int open_image(struct env *e, const char *digest, const char *role, int *ret_fd, struct reason *reason)
{
    int fd = images_open(e->manager->deps.images, digest);
    if (fd < 0) {
        reason_set(reason, "image-missing", "its %s %s cannot be read (%s): upload the image again", role,
                   digest, strerror(-fd));
        return fd;
    }
    *ret_fd = fd;
    return 0;
}

int spawn_open_log(struct env *e, struct reason *ret_reason)
{
    const struct manager_config *config = &e->manager->config;
    struct err err;
    int fd = logfile_open(config->log_folder, e->tenant, e->name, config->log_capacity, &err);
    if (fd == -ENOSPC || fd == -EDQUOT)
        reason_set(ret_reason, "disk-full", "%s: make room under the state folder, then start it again",
                   err.text);
    else if (fd < 0)
        reason_set(ret_reason, "log-unavailable", "%s", err.text);
    return fd;
}

// Opens what SPAWN carries, in its order: kernel (borrowed), program, log[, archive].
static int open_files(struct env *e, int fds[CELL_FDS], struct reason *reason)
{
    int rc = open_image(e, e->spec.program, "program", &fds[1], reason);
    if (rc == 0 && e->spec.archive)
        rc = open_image(e, e->spec.archive, "archive", &fds[3], reason);
    if (rc < 0)
        return rc;
    fds[2] = spawn_open_log(e, reason);
    return fds[2] < 0 ? fds[2] : 0;
}

// KEY=value texts of the variables, to be freed one by one.
static int make_variables(const json_t *env, char *ret[VMCTL_ARGS_MAX], struct vmctl_config *c)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)env, key, value)
    {
        if (asprintf(&ret[c->n_env], "%s=%s", key, json_string_value(value)) < 0) {
            ret[c->n_env] = NULL;
            return -ENOMEM;
        }
        c->env[c->n_env] = VIEW(ret[c->n_env]);
        c->n_env++;
    }
    return 0;
}

// guest: of kind linux.
static void describe(struct env *e, const struct spawn_guest *guest, struct vmctl_config *c)
{
    const struct manager_config *config = &e->manager->config;
    size_t i;
    json_t *arg;
    c->tenant = VIEW(e->tenant);
    c->name = VIEW(e->name);
    c->kind = guest ? VMCTL_KIND_LINUX : VMCTL_KIND_CELL;
    c->n_vcpus = guest ? (uint8_t)e->spec.vcpus : 1;
    c->memory_mib = e->spec.memory_mib;
    ipam_mac(e->ipv4, c->mac);
    c->ipv4 = e->ipv4;
    c->gateway = ipam_gateway(&config->pool, e->net);
    c->prefix = IPAM_PREFIX;
    c->log_bytes_per_s = config->log_bytes_per_s;
    c->log_burst_bytes = config->log_burst_bytes;
    c->net_packets_per_s = e->spec.net_packets_per_s;
    c->net_bits_per_s = e->spec.net_bits_per_s;
    if (guest) {
        c->cmdline = VIEW(guest->cmdline);
        c->has_initrd = guest->has_initrd;
        c->n_disks = (uint8_t)guest->n_disks;
        memcpy(c->disks, guest->disks, guest->n_disks * sizeof guest->disks[0]);
        return;
    }
    c->args[c->n_args++] = VIEW(e->spec.argv0 ? e->spec.argv0 : e->name);
    json_array_foreach(e->spec.args, i, arg) c->args[c->n_args++] = VIEW(json_string_value(arg));
}

// The encoded configuration, the caller's to free; NULL: no memory, or (never, for specs are checked) too
// long.
static uint8_t *encode_config(struct env *e, const struct spawn_guest *guest, size_t *ret_len)
{
    _cleanup_free_ struct vmctl_config *c = calloc(1, sizeof *c);
    char *variables[VMCTL_ARGS_MAX] = {0};
    _cleanup_free_ uint8_t *data = malloc(VMCTL_CONFIG_MAX);
    bool good = c && data && make_variables(e->spec.env, variables, c) == 0;
    if (good) {
        struct wire_writer w;
        describe(e, guest, c);
        wire_writer_init(&w, data, VMCTL_CONFIG_MAX);
        vmctl_config_write(&w, c);
        good = !w.overflow;
        *ret_len = w.pos;
    }
    for (size_t i = 0; i < VMCTL_ARGS_MAX; i++)
        free(variables[i]);
    return good ? take_ptr(data) : NULL;
}

static int request_network(struct env *e)
{
    struct manager *m = e->manager;
    if (m->net_up[e->net / 8] & (1u << (e->net % 8)))
        return 0;
    // The answer is not waited for: the helper serves in order, and SPAWN fails when this did.
    struct privctl_message up = {.type = PRIVCTL_NET_UP,
                                 .net = {.net = (uint16_t)e->net,
                                         .gateway = ipam_gateway(&m->config.pool, e->net),
                                         .prefix = IPAM_PREFIX}};
    return priv_link_request(m->priv, &up, NULL, 0);
}

static uint64_t memory_max_bytes(const struct env_spec *spec)
{
    uint64_t guest = (uint64_t)spec->memory_mib << 20;
    return spec->kind == ENV_KIND_CELL
               ? guest + MONITOR_BYTES
               : guest + MONITOR_BYTES + guest / PAGE_TABLE_SHARE + (uint64_t)spec->vcpus * VCPU_BYTES;
}

// guest: of kind linux.
static int request_machine(struct env *e, const struct spawn_guest *guest, const int *fds, size_t n_fds)
{
    size_t len;
    _cleanup_free_ uint8_t *config = encode_config(e, guest, &len);
    if (!config)
        return -ENOMEM;
    struct privctl_message spawn = {
        .type = PRIVCTL_SPAWN,
        .spawn = {.vm = e->vm,
                  .kind = guest ? PRIVCTL_KIND_LINUX : PRIVCTL_KIND_CELL,
                  .memory_max_bytes = memory_max_bytes(&e->spec),
                  .cpu_weight = e->spec.cpu_weight,
                  // A CPU for each vCPU and one for the devices. A cell has no more than two threads.
                  .cpu_percent = guest ? 100 * (e->spec.vcpus + 1) : 0,
                  .pids_max = guest ? LINUX_PIDS : MONITOR_PIDS,
                  .net = (uint16_t)e->net,
                  .ipv4 = e->ipv4,
                  .vm_config = {config, len}}};
    snprintf(spawn.spawn.tenant, sizeof spawn.spawn.tenant, "%s", e->tenant);
    snprintf(spawn.spawn.name, sizeof spawn.spawn.name, "%s", e->name);
    ipam_mac(e->ipv4, spawn.spawn.mac);
    return priv_link_request(e->manager->priv, &spawn, fds, n_fds);
}

int spawn_request(struct env *e, struct reason *ret_reason)
{
    int fds[CELL_FDS] = {e->manager->config.kernel_fd, -1, -1, -1};
    int rc = open_files(e, fds, ret_reason);
    if (rc == 0) {
        rc = measure_environment(e->manager->kernel_digest, e->name, &e->spec, e->measurement);
        if (rc == 0)
            rc = request_network(e);
        if (rc == 0)
            rc = request_machine(e, NULL, fds, fds[3] >= 0 ? 4 : 3);
        if (rc < 0)
            reason_set(ret_reason, "spawn-refused", "the privileged helper cannot be asked: %s",
                       strerror(-rc));
    }
    for (size_t i = 1; i < CELL_FDS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return rc;
}

int spawn_linux(struct env *e, const struct spawn_guest *guest)
{
    int rc = request_network(e);
    return rc < 0 ? rc : request_machine(e, guest, guest->fds, guest->n_fds);
}
