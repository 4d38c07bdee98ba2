// cellrun's command line. See the list of options in cellrun.c.
#include "cellrun.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct wire_view view_of(const char *s)
{
    return (struct wire_view){.data = (const uint8_t *)s, .len = strlen(s)};
}

enum {
    OPT_ENVVM = 256,
    OPT_KERNEL,
    OPT_PROGRAM,
    OPT_ARCHIVE,
    OPT_MEMORY,
    OPT_RATE,
    OPT_TAP,
    OPT_IP,
    OPT_GATEWAY,
    OPT_MAC,
    OPT_ECHO,
    OPT_AGENT,
    OPT_LINUX,
    OPT_INITRD,
    OPT_CPUS,
    OPT_CMDLINE,
    OPT_DISK,
    OPT_OVERLAY,
    OPT_ORDERS
};

static const struct option options[] = {
    {"envvm", 1, NULL, OPT_ENVVM},      {"kernel", 1, NULL, OPT_KERNEL},
    {"program", 1, NULL, OPT_PROGRAM},  {"archive", 1, NULL, OPT_ARCHIVE},
    {"memory", 1, NULL, OPT_MEMORY},    {"rate", 1, NULL, OPT_RATE},
    {"tap", 1, NULL, OPT_TAP},          {"ip", 1, NULL, OPT_IP},
    {"gateway", 1, NULL, OPT_GATEWAY},  {"mac", 1, NULL, OPT_MAC},
    {"stream-echo", 0, NULL, OPT_ECHO}, {"agent", 1, NULL, OPT_AGENT},
    {"linux", 0, NULL, OPT_LINUX},      {"initrd", 1, NULL, OPT_INITRD},
    {"cpus", 1, NULL, OPT_CPUS},        {"cmdline", 1, NULL, OPT_CMDLINE},
    {"disk", 1, NULL, OPT_DISK},        {"overlay", 1, NULL, OPT_OVERLAY},
    {"orders", 1, NULL, OPT_ORDERS},    {NULL, 0, NULL, 0},
};

static uint32_t parse_ipv4(const char *text)
{
    struct in_addr a;
    if (inet_pton(AF_INET, text, &a) != 1) {
        fprintf(stderr, "cellrun: not an IPv4 address: %s\n", text);
        exit(125);
    }
    return ntohl(a.s_addr);
}

static void parse_ip_and_prefix(const char *text, struct vmctl_config *c)
{
    char address[32];
    snprintf(address, sizeof address, "%s", text);
    char *slash = strchr(address, '/');
    c->prefix = 24;
    if (slash) {
        *slash = '\0';
        c->prefix = (uint8_t)atoi(slash + 1);
    }
    c->ipv4 = parse_ipv4(address);
}

static void parse_mac(const char *text, uint8_t mac[6])
{
    unsigned m[6];
    if (sscanf(text, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6) {
        fprintf(stderr, "cellrun: not a MAC address: %s\n", text);
        exit(125);
    }
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)m[i];
}

static struct vmctl_disk *add_disk(struct run *r, struct disk **ret)
{
    if (r->config.n_disks == VMCTL_DISKS_MAX) {
        fprintf(stderr, "cellrun: more than %d disks\n", VMCTL_DISKS_MAX);
        exit(125);
    }
    *ret = &r->disks[r->config.n_disks];
    return &r->config.disks[r->config.n_disks++];
}

static void parse_disk(struct run *r, char *text)
{
    struct disk *disk;
    struct vmctl_disk *config = add_disk(r, &disk);
    const size_t len = strlen(text);
    if (len > 3 && strcmp(text + len - 3, ":ro") == 0) {
        config->flags = VMCTL_DISK_READ_ONLY;
        text[len - 3] = '\0';
    }
    disk->file = text;
}

static void parse_overlay(struct run *r, char *text)
{
    struct disk *disk;
    struct vmctl_disk *config = add_disk(r, &disk);
    config->flags = VMCTL_DISK_OVERLAY;
    disk->file = strtok(text, ":");
    disk->overlay = strtok(NULL, ":");
    const char *mib = strtok(NULL, ":");
    config->bytes = mib ? (uint64_t)atoll(mib) << 20 : 0;
    if (!disk->overlay) {
        fprintf(stderr, "cellrun: --overlay wants BASE:FILE\n");
        exit(125);
    }
}

// True when it was one of Linux guests' own.
static bool parse_linux_option(struct run *r, int opt)
{
    struct vmctl_config *c = &r->config;
    switch (opt) {
    case OPT_LINUX:
        c->kind = VMCTL_KIND_LINUX;
        return true;
    case OPT_INITRD:
        r->initrd = optarg;
        c->has_initrd = true;
        return true;
    case OPT_CPUS:
        c->n_vcpus = (uint8_t)atoi(optarg);
        return true;
    case OPT_CMDLINE:
        c->cmdline = view_of(optarg);
        return true;
    case OPT_DISK:
        parse_disk(r, optarg);
        return true;
    case OPT_OVERLAY:
        parse_overlay(r, optarg);
        return true;
    default:
        return false;
    }
}

static void parse_option(struct run *r, int opt)
{
    if (parse_linux_option(r, opt))
        return;
    struct vmctl_config *c = &r->config;
    switch (opt) {
    case OPT_ENVVM:
        r->envvm = optarg;
        break;
    case OPT_KERNEL:
        r->kernel = optarg;
        break;
    case OPT_PROGRAM:
        r->program = optarg;
        break;
    case OPT_ARCHIVE:
        r->archive = optarg;
        break;
    case OPT_MEMORY:
        c->memory_mib = (uint32_t)atoi(optarg);
        break;
    case OPT_RATE:
        c->log_bytes_per_s = c->log_burst_bytes = (uint32_t)atoi(optarg);
        break;
    case OPT_TAP:
        r->tap = optarg;
        break;
    case OPT_IP:
        parse_ip_and_prefix(optarg, c);
        break;
    case OPT_GATEWAY:
        c->gateway = parse_ipv4(optarg);
        break;
    case OPT_MAC:
        parse_mac(optarg, c->mac);
        break;
    case OPT_ECHO:
        r->echo = true;
        break;
    case OPT_ORDERS:
        r->orders = optarg;
        break;
    case OPT_AGENT:
        r->agent = optarg;
        break;
    case 'v':
        r->verbose = true;
        break;
    case 'e':
        if (c->n_env < VMCTL_ARGS_MAX)
            c->env[c->n_env++] = view_of(optarg);
        break;
    default:
        fprintf(stderr, "usage: cellrun --kernel FILE --program FILE [options] -- argument…\n"
                        "       cellrun --linux --kernel FILE [options]\n");
        exit(125);
    }
}

void parse_command_line(struct run *r, int argc, char **argv)
{
    struct vmctl_config *c = &r->config;
    c->tenant = view_of("test");
    c->name = view_of("cell");
    c->n_vcpus = 1;
    c->memory_mib = 32;
    memcpy(c->mac, (const uint8_t[]){0x52, 0x54, 0, 0, 0, 2}, sizeof c->mac);
    for (int opt; (opt = getopt_long(argc, argv, "+e:v", options, NULL)) != -1;)
        parse_option(r, opt);
    for (; optind < argc && c->n_args < VMCTL_ARGS_MAX; optind++)
        c->args[c->n_args++] = view_of(argv[optind]);
    const bool is_linux = c->kind == VMCTL_KIND_LINUX;
    if (!r->kernel || (!is_linux && !r->program))
        parse_option(r, '?');
    if (c->n_args == 0 && !is_linux)
        c->args[c->n_args++] = view_of(r->program);
}
