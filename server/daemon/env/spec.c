// Owns what an environment's spec may say, of each kind, and its defaults. Called by env/ and the API's
// views; must not know transactions or HTTP.
#include "env/spec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"
#include "env/documents.h"
#include "proto/name.h"

#define ENV_VALUE_MAX        32768
#define CPU_WEIGHT_DEFAULT   100
#define WATCHDOG_S_DEFAULT   60
#define LINUX_MEMORY_MIN_MIB 64
#define CMDLINE_MAX          1024
#define DISK_MIB_MAX         (2 << 20) // what an overlay of the smallest blocks can map
#define RATE_MAX             1000000000000
// What one NIC of a cell may move each way: enough for any program, and not enough to keep a host's bridge
// busy.
#define CELL_PACKETS_PER_S 100000u
#define CELL_BITS_PER_S    1000000000u

static const char *const kind_names[ENV_KIND_COUNT] = {[ENV_KIND_CELL] = "cell", [ENV_KIND_LINUX] = "linux"};
static const char *const restart_names[] = {
    [ENV_RESTART_NEVER] = "never", [ENV_RESTART_ON_FAILURE] = "on-failure", [ENV_RESTART_ALWAYS] = "always"};
static const char *const mailbox_names[] = {
    [ENV_MAILBOX_DEFAULT] = "", [ENV_MAILBOX_HOST] = "host", [ENV_MAILBOX_QUEUE] = "queue"};

const char *env_kind_name(enum env_kind kind)
{
    return kind_names[kind];
}

const char *env_restart_name(enum env_restart restart)
{
    return restart_names[restart];
}

static const char *check_digest(const char *key, const char *text, size_t len)
{
    (void)key;
    return doc_digest_valid(text, len) ? NULL : "is not a digest: \"sha256:\" and 64 lower-case hex digits";
}

// The index of text in names, or -1.
static int find_word(const char *const *names, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, names[i]) == 0)
            return (int)i;
    return -1;
}

static const char *check_kind(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    return find_word(kind_names, ENV_KIND_COUNT, text) >= 0 ? NULL : "must be \"cell\" or \"linux\"";
}

static const char *check_restart(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    return find_word(restart_names, ARRAY_LEN(restart_names), text) >= 0
               ? NULL
               : "must be never, on-failure or always";
}

static const char *check_mailbox(const char *key, const char *text, size_t len)
{
    (void)key;
    (void)len;
    return find_word(mailbox_names, ARRAY_LEN(mailbox_names), text) > 0 ? NULL : "must be host or queue";
}

static const char *check_variable(const char *key, const char *text, size_t len)
{
    (void)text;
    (void)len;
    return key[0] != '\0' && !strchr(key, '=') ? NULL : "the name of a variable is not empty and has no '='";
}

static const char *check_cmdline(const char *key, const char *text, size_t len)
{
    (void)key;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return "has a control character";
    return NULL;
}

// Guests find a disk as /dev/disk/by-id/virtio-NAME, which has room for so much.
static const char *check_volume(const char *key, const char *text, size_t len)
{
    (void)key;
    if (!name_valid(text, len) || len > VMCTL_DISK_ID_MAX)
        return "is not a volume's name: 1 to 20 of a-z, 0-9 and -, neither beginning nor ending with -";
    return strcmp(text, "root") == 0 ? "is the name of the root disk" : NULL;
}

#define INTEGER(name_, min_, max_)                                                                           \
    {                                                                                                        \
        .name = (name_), .kind = JSON_FIELD_INTEGER, .min = (min_), .max = (max_)                            \
    }
#define DIGEST(name_)                                                                                        \
    {                                                                                                        \
        .name = (name_), .kind = JSON_FIELD_STRING, .min = 1, .max = 128, .check = check_digest              \
    }
#define OBJECT(name_, fields_)                                                                               \
    {                                                                                                        \
        .name = (name_), .kind = JSON_FIELD_OBJECT, .fields = (fields_), .n_fields = ARRAY_LEN(fields_)      \
    }

static const struct json_field volume_fields[] = {
    {.name = "name", .kind = JSON_FIELD_STRING, .required = true, .max = 256, .check = check_volume},
    {.name = "size_mib", .kind = JSON_FIELD_INTEGER, .required = true, .min = 1, .max = DISK_MIB_MAX},
};
static const struct json_field net_limit_fields[] = {
    INTEGER("packets_per_s", 0, RATE_MAX),
    INTEGER("bits_per_s", 0, RATE_MAX),
};
static const struct json_field disk_limit_fields[] = {
    INTEGER("requests_per_s", 0, RATE_MAX),
    INTEGER("bytes_per_s", 0, RATE_MAX),
};
static const struct json_field limit_fields[] = {
    OBJECT("net", net_limit_fields),
    OBJECT("disk", disk_limit_fields),
};

const struct json_field spec_fields[SPEC_N_FIELDS] = {
    {.name = "kind", .kind = JSON_FIELD_STRING, .required = true, .min = 1, .max = 16, .check = check_kind},
    DIGEST("program"),
    DIGEST("archive"),
    // Many programs look at it: busybox takes it for the applet.
    {.name = "argv0", .kind = JSON_FIELD_STRING, .min = 1, .max = ENV_VALUE_MAX},
    {.name = "args",
     .kind = JSON_FIELD_STRINGS,
     .min = 0,
     .max = VMCTL_ARGS_MAX - 1,
     .each_max = ENV_VALUE_MAX},
    {.name = "env",
     .kind = JSON_FIELD_MAP,
     .max = VMCTL_ARGS_MAX,
     .each_max = ENV_VALUE_MAX,
     .check = check_variable},
    INTEGER("memory_mib", VMCTL_MEMORY_MIN_MIB, VMCTL_LINUX_MEMORY_MAX_MIB),
    INTEGER("cpu_weight", 1, 10000),
    {.name = "restart", .kind = JSON_FIELD_STRING, .min = 1, .max = 16, .check = check_restart},
    {.name = "mailbox", .kind = JSON_FIELD_STRING, .min = 1, .max = 16, .check = check_mailbox},
    {.name = "run", .kind = JSON_FIELD_BOOLEAN},
    DIGEST("image"),
    INTEGER("vcpus", 1, VMCTL_VCPUS_MAX),
    INTEGER("disk_mib", 1, DISK_MIB_MAX),
    {.name = "volumes",
     .kind = JSON_FIELD_OBJECTS,
     .min = 0,
     .max = SPEC_VOLUMES_MAX,
     .fields = volume_fields,
     .n_fields = ARRAY_LEN(volume_fields)},
    {.name = "cmdline", .kind = JSON_FIELD_STRING, .min = 0, .max = CMDLINE_MAX, .check = check_cmdline},
    INTEGER("watchdog_s", 0, 86400),
    OBJECT("limits", limit_fields),
};

// --- what belongs to which kind ---

enum presence { MAY, MUST, NOT };

static const struct {
    const char *member;
    enum presence of[ENV_KIND_COUNT];
} presences[] = {
    {"program", {MUST, NOT}}, {"archive", {MAY, NOT}}, {"argv0", {MAY, NOT}},      {"args", {MAY, NOT}},
    {"env", {MAY, NOT}},      {"image", {NOT, MUST}},  {"vcpus", {NOT, MAY}},      {"disk_mib", {NOT, MAY}},
    {"volumes", {NOT, MAY}},  {"cmdline", {NOT, MAY}}, {"watchdog_s", {NOT, MAY}},
};

static const struct {
    int64_t min_mib, max_mib, default_mib;
} memory_of[ENV_KIND_COUNT] = {
    [ENV_KIND_CELL] = {VMCTL_MEMORY_MIN_MIB, VMCTL_MEMORY_MAX_MIB, 16},
    [ENV_KIND_LINUX] = {LINUX_MEMORY_MIN_MIB, VMCTL_LINUX_MEMORY_MAX_MIB, 512},
};

__attribute__((format(printf, 4, 5))) static int fault_at(struct json_fault *fault, const char *code,
                                                          const char *member, const char *format, ...)
{
    fault->code = code;
    snprintf(fault->pointer, sizeof fault->pointer, "/spec/%s", member);
    va_list ap;
    va_start(ap, format);
    vsnprintf(fault->text, sizeof fault->text, format, ap);
    va_end(ap);
    return -EINVAL;
}

static int check_volumes(const json_t *volumes, struct json_fault *fault)
{
    for (size_t i = 0; i < json_array_size(volumes); i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(json_get_string(json_array_get(volumes, i), "name", ""),
                       json_get_string(json_array_get(volumes, j), "name", "")) == 0)
                return fault_at(fault, "invalid-member", "volumes", "has two volumes of the name %s",
                                json_get_string(json_array_get(volumes, i), "name", ""));
    return 0;
}

static enum env_kind kind_of(const json_t *spec)
{
    return strcmp(json_get_string(spec, "kind", ""), "linux") == 0 ? ENV_KIND_LINUX : ENV_KIND_CELL;
}

int spec_check(const json_t *spec, struct json_fault *fault)
{
    enum env_kind kind = kind_of(spec);
    for (size_t i = 0; i < ARRAY_LEN(presences); i++) {
        bool given = json_object_get(spec, presences[i].member) != NULL;
        if (given && presences[i].of[kind] == NOT)
            return fault_at(fault, "unknown-member", presences[i].member,
                            "is no member of kind %s, but of kind %s", kind_names[kind],
                            kind_names[1 - kind]);
        if (!given && presences[i].of[kind] == MUST)
            return fault_at(fault, "missing-member", presences[i].member, "is required of kind %s",
                            kind_names[kind]);
    }
    int64_t mib = json_get_integer(spec, "memory_mib", memory_of[kind].default_mib);
    if (mib < memory_of[kind].min_mib || mib > memory_of[kind].max_mib)
        return fault_at(fault, "invalid-member", "memory_mib",
                        "must be from %" PRId64 " to %" PRId64 " of kind %s, is %" PRId64,
                        memory_of[kind].min_mib, memory_of[kind].max_mib, kind_names[kind], mib);
    if (kind == ENV_KIND_CELL && json_object_get(json_object_get(spec, "limits"), "disk"))
        return fault_at(fault, "unknown-member", "limits/disk", "is no member of kind cell: it has no disk");
    return check_volumes(json_object_get(spec, "volumes"), fault);
}

// --- reading ---

static void read_limits(const json_t *spec, struct env_spec *ret)
{
    const json_t *limits = json_object_get(spec, "limits");
    const json_t *net = json_object_get(limits, "net"), *disk = json_object_get(limits, "disk");
    bool cell = ret->kind == ENV_KIND_CELL;
    ret->net_packets_per_s = (uint64_t)json_get_integer(net, "packets_per_s", cell ? CELL_PACKETS_PER_S : 0);
    ret->net_bits_per_s = (uint64_t)json_get_integer(net, "bits_per_s", cell ? CELL_BITS_PER_S : 0);
    ret->disk_requests_per_s = (uint64_t)json_get_integer(disk, "requests_per_s", 0);
    ret->disk_bytes_per_s = (uint64_t)json_get_integer(disk, "bytes_per_s", 0);
}

static void read_linux(const json_t *spec, struct env_spec *ret)
{
    const json_t *volumes = json_object_get(spec, "volumes");
    ret->image = json_get_string(spec, "image", NULL);
    ret->cmdline = json_get_string(spec, "cmdline", NULL);
    ret->vcpus = (uint32_t)json_get_integer(spec, "vcpus", 1);
    ret->disk_mib = (uint32_t)json_get_integer(spec, "disk_mib", 0);
    ret->watchdog_s = (uint32_t)json_get_integer(spec, "watchdog_s", WATCHDOG_S_DEFAULT);
    for (; ret->n_volumes < json_array_size(volumes) && ret->n_volumes < SPEC_VOLUMES_MAX; ret->n_volumes++) {
        const json_t *volume = json_array_get(volumes, ret->n_volumes);
        ret->volumes[ret->n_volumes] = (struct env_volume){json_get_string(volume, "name", ""),
                                                           (uint32_t)json_get_integer(volume, "size_mib", 0)};
    }
}

void doc_read_spec(const json_t *environment, struct env_spec *ret)
{
    const json_t *spec = json_object_get(environment, "spec");
    enum env_kind kind = kind_of(spec);
    int mailbox = find_word(mailbox_names, ARRAY_LEN(mailbox_names), json_get_string(spec, "mailbox", ""));
    int restart = find_word(restart_names, ARRAY_LEN(restart_names), json_get_string(spec, "restart", ""));
    *ret = (struct env_spec){
        .kind = kind,
        .program = json_get_string(spec, "program", NULL),
        .archive = json_get_string(spec, "archive", NULL),
        .argv0 = json_get_string(spec, "argv0", NULL),
        .args = json_object_get(spec, "args"),
        .env = json_object_get(spec, "env"),
        .memory_mib = (uint32_t)json_get_integer(spec, "memory_mib", memory_of[kind].default_mib),
        .cpu_weight = (uint32_t)json_get_integer(spec, "cpu_weight", CPU_WEIGHT_DEFAULT),
        .restart = restart < 0 ? ENV_RESTART_NEVER : (enum env_restart)restart,
        .mailbox = mailbox < 0 ? ENV_MAILBOX_DEFAULT : (enum env_mailbox)mailbox,
        .run = json_get_boolean(spec, "run", false),
    };
    read_limits(spec, ret);
    if (kind == ENV_KIND_LINUX)
        read_linux(spec, ret);
}

uint64_t spec_volumes_mib(const struct env_spec *spec)
{
    uint64_t mib = 0;
    for (size_t i = 0; i < spec->n_volumes; i++)
        mib += spec->volumes[i].size_mib;
    return mib;
}
