// Owns options and the configuration file: their names, defaults, and the sentences about wrong ones. Called
// by main.
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "json/fields.h"

#define FILE_MAX (64u << 10)

const char config_help[] =
    "envd: serves the API for isolated environments, each a virtual machine. Needs envpriv running.\n"
    "\n"
    "  --state DIR            folder of everything that lasts (needed)\n"
    "  --run DIR              folder of the sockets: envd.sock, and envpriv's priv.sock (needed)\n"
    "  --user NAME|UID        the user to become; needed when started as root, who is never kept\n"
    "  --config FILE.json     the same settings, with underscores, as members; the command line wins\n"
    "  --cell-kernel FILE     the kernel of cells (default " ENVD_CELL_KERNEL ")\n"
    "  --network CIDR         addresses of environments, /12 to /24 (default 10.77.0.0/16)\n"
    "  --admin-uid NAME|UID   may use the API besides root; repeatable\n"
    "  --log-kib N            log kept of each environment (default 256)\n"
    "  --log-kib-per-s N      what each environment may print (default 1024)\n"
    "  --image-mib-max N      largest image, disks too (default 16384)\n"
    "  --journal-mib-max N    messages on disk, in segment files (default 4096)\n"
    "  --journal-segment-kib N  size of one segment file (default 16384)\n"
    "  --attempts-max N      failed tries that make a message a dead letter (default 16)\n"
    "  --dead-letters-max N  dead letters kept of each environment (default 100)\n"
    "  --boot-timeout-ms N    for an environment's agent to say hello (default 30000)\n"
    "  --linux-boot-timeout-ms N  the same of kind linux (default 120000)\n"
    "  --host-name NAME       of this host among others (default the machine's)\n"
    "  --broker URL           amqp://HOST[:PORT][,HOST[:PORT]]...[/VHOST], or amqps:// for TLS; several are\n"
    "                         nodes of one cluster; its user is envd.HOST-NAME\n"
    "  --broker-password-file FILE   the password; without it, the certificate says who this is\n"
    "  --broker-ca FILE, --broker-cert FILE, --broker-key FILE   PEM, for TLS\n"
    "  --broker-queues TYPE   classic, quorum, or auto (default): quorum when --broker names three nodes\n"
    "  --stop-environments    at SIGTERM end all environments; without it they go on running\n"
    "  --log-level LEVEL      error, warn, info (default) or debug\n"
    "  --version, --help\n";

static int set_path(char *out, const char *value, const char *what, struct err *err)
{
    if (value[0] == '\0' || strlen(value) >= CONFIG_PATH_CAP)
        return err_set(err, -EINVAL, "%s: must be a path of 1 to %d bytes", what, CONFIG_PATH_CAP - 1);
    snprintf(out, CONFIG_PATH_CAP, "%s", value);
    return 0;
}

// A number from min to max, all of it.
static int read_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || n < min || n > max)
        return -EINVAL;
    *ret = n;
    return 0;
}

// A user by number or name. gid: its group, or the number again when the number has no account.
static int read_user(const char *text, uid_t *ret_uid, gid_t *ret_gid, const char *what, struct err *err)
{
    uint64_t n;
    bool numeric = read_number(text, 0, UINT32_MAX - 1, &n) == 0;
    const struct passwd *pw = numeric ? getpwuid((uid_t)n) : getpwnam(text);
    if (!pw && !numeric)
        return err_set(err, -EINVAL, "%s: there is no user %s", what, text);
    *ret_uid = pw ? pw->pw_uid : (uid_t)n;
    *ret_gid = pw ? pw->pw_gid : (gid_t)n;
    return 0;
}

static int set_user(struct config *c, const char *value, struct err *err)
{
    int rc = read_user(value, &c->uid, &c->gid, "user", err);
    if (rc == 0 && c->uid == 0)
        return err_set(err, -EINVAL, "user: envd does not run as root; name an unprivileged user");
    c->has_user = rc == 0;
    return rc;
}

static int add_admin(struct config *c, const char *value, struct err *err)
{
    gid_t gid;
    if (c->n_admins >= CONFIG_ADMINS_MAX)
        return err_set(err, -EINVAL, "admin-uid: at most %d are possible", CONFIG_ADMINS_MAX);
    int rc = read_user(value, &c->admins[c->n_admins], &gid, "admin-uid", err);
    if (rc == 0)
        c->n_admins++;
    return rc;
}

static int set_network(struct config *c, const char *value, struct err *err)
{
    int rc = ipam_pool_parse(value, &c->pool, err);
    if (rc < 0)
        return err_wrap(err, rc, "network");
    snprintf(c->network, sizeof c->network, "%s", value);
    return 0;
}

static int set_level(struct config *c, const char *value, struct err *err)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(value, names[i]) != 0)
            continue;
        c->log_level = (enum log_level)i;
        return 0;
    }
    return err_set(err, -EINVAL, "log-level: must be error, warn, info or debug, not %s", value);
}

static int set_state(struct config *c, const char *value, struct err *err)
{
    return set_path(c->state, value, "state", err);
}

static int set_run(struct config *c, const char *value, struct err *err)
{
    return set_path(c->run, value, "run", err);
}

static int set_kernel(struct config *c, const char *value, struct err *err)
{
    return set_path(c->kernel, value, "cell-kernel", err);
}

static int set_host_name(struct config *c, const char *value, struct err *err)
{
    if (!name_valid(value, strlen(value)))
        return err_set(err, -EINVAL,
                       "host-name: %s is none: lower-case letters, digits and hyphens, at most 63", value);
    snprintf(c->host_name, sizeof c->host_name, "%s", value);
    return 0;
}

static int set_broker(struct config *c, const char *value, struct err *err)
{
    return config_read_broker(value, &c->broker, err);
}

static int set_broker_password_file(struct config *c, const char *value, struct err *err)
{
    return set_path(c->broker.password_file, value, "broker-password-file", err);
}

static int set_broker_ca(struct config *c, const char *value, struct err *err)
{
    return set_path(c->broker.ca, value, "broker-ca", err);
}

static int set_broker_cert(struct config *c, const char *value, struct err *err)
{
    return set_path(c->broker.cert, value, "broker-cert", err);
}

static int set_broker_key(struct config *c, const char *value, struct err *err)
{
    return set_path(c->broker.key, value, "broker-key", err);
}

static int set_broker_queues(struct config *c, const char *value, struct err *err)
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "classic") != 0 && strcmp(value, "quorum") != 0)
        return err_set(err, -EINVAL, "broker-queues: must be auto, classic or quorum, not %s", value);
    snprintf(c->broker.queues, sizeof c->broker.queues, "%s", value);
    return 0;
}

// One setting: an option "--name" and a member "name" (with underscores) of the file.
struct setting {
    const char *option, *member;
    int (*set)(struct config *c, const char *value, struct err *err); // texts
    size_t offset; // of a uint32_t in struct config, for numbers
    uint32_t min, max;
    bool many;
};

static const struct setting settings[] = {
    {.option = "state", .member = "state", .set = set_state},
    {.option = "run", .member = "run", .set = set_run},
    {.option = "user", .member = "user", .set = set_user},
    {.option = "cell-kernel", .member = "cell_kernel", .set = set_kernel},
    {.option = "network", .member = "network", .set = set_network},
    {.option = "admin-uid", .member = "admin_uid", .set = add_admin, .many = true},
    {.option = "log-level", .member = "log_level", .set = set_level},
    {.option = "host-name", .member = "host_name", .set = set_host_name},
    {.option = "broker", .member = "broker", .set = set_broker},
    {.option = "broker-password-file", .member = "broker_password_file", .set = set_broker_password_file},
    {.option = "broker-ca", .member = "broker_ca", .set = set_broker_ca},
    {.option = "broker-cert", .member = "broker_cert", .set = set_broker_cert},
    {.option = "broker-key", .member = "broker_key", .set = set_broker_key},
    {.option = "broker-queues", .member = "broker_queues", .set = set_broker_queues},
    {.option = "log-kib",
     .member = "log_kib",
     .offset = offsetof(struct config, log_kib),
     .min = 4,
     .max = 65536},
    {.option = "log-kib-per-s",
     .member = "log_kib_per_s",
     .offset = offsetof(struct config, log_kib_per_s),
     .min = 1,
     .max = 1 << 20},
    {.option = "image-mib-max",
     .member = "image_mib_max",
     .offset = offsetof(struct config, image_mib_max),
     .min = 1,
     .max = 1 << 20},
    {.option = "journal-mib-max",
     .member = "journal_mib_max",
     .offset = offsetof(struct config, journal_mib_max),
     .min = 8,
     .max = 1 << 20},
    {.option = "journal-segment-kib",
     .member = "journal_segment_kib",
     .offset = offsetof(struct config, journal_segment_kib),
     .min = 2048,
     .max = 1 << 20},
    {.option = "attempts-max",
     .member = "attempts_max",
     .offset = offsetof(struct config, attempts_max),
     .min = 1,
     .max = 1000},
    {.option = "dead-letters-max",
     .member = "dead_letters_max",
     .offset = offsetof(struct config, dead_letters_max),
     .min = 1,
     .max = 65536},
    {.option = "boot-timeout-ms",
     .member = "boot_timeout_ms",
     .offset = offsetof(struct config, boot_timeout_ms),
     .min = 100,
     .max = 3600000},
    {.option = "linux-boot-timeout-ms",
     .member = "linux_boot_timeout_ms",
     .offset = offsetof(struct config, linux_boot_timeout_ms),
     .min = 100,
     .max = 3600000},
};
#define N_SETTINGS ARRAY_LEN(settings)

static int apply(struct config *c, const struct setting *s, const char *value, struct err *err)
{
    uint64_t n;
    if (s->set)
        return s->set(c, value, err);
    if (read_number(value, s->min, s->max, &n) < 0)
        return err_set(err, -EINVAL, "%s: must be a number from %u to %u, not %s", s->option, s->min, s->max,
                       value);
    memcpy((char *)c + s->offset, &(uint32_t){(uint32_t)n}, sizeof(uint32_t));
    return 0;
}

static size_t make_fields(struct json_field fields[N_SETTINGS + 1])
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &settings[i];
        fields[i] = (struct json_field){.name = s->member, .max = INT32_MAX, .each_max = CONFIG_PATH_CAP};
        fields[i].kind = s->many ? JSON_FIELD_STRINGS : s->set ? JSON_FIELD_STRING : JSON_FIELD_INTEGER;
        if (fields[i].kind == JSON_FIELD_INTEGER) {
            fields[i].min = s->min;
            fields[i].max = s->max;
        }
    }
    fields[N_SETTINGS] = (struct json_field){.name = "stop_environments", .kind = JSON_FIELD_BOOLEAN};
    return N_SETTINGS + 1;
}

static int apply_member(struct config *c, const struct setting *s, const json_t *value, struct err *err)
{
    char number[24];
    size_t i;
    json_t *each;
    int rc = 0;
    if (s->many) {
        json_array_foreach(value, i, each) if (rc == 0) rc = apply(c, s, json_string_value(each), err);
        return rc;
    }
    snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    return apply(c, s, json_is_string(value) ? json_string_value(value) : number, err);
}

static int read_file(struct config *c, const char *path, struct err *err)
{
    _cleanup_free_ char *text = malloc(FILE_MAX);
    if (!text)
        return err_set(err, -ENOMEM, "no memory for the configuration");
    ssize_t n = io_read_file(path, text, FILE_MAX);
    if (n < 0)
        return err_errno(err, (int)n, "read the configuration %s", path);
    struct json_fault fault;
    struct json_field fields[N_SETTINGS + 1];
    size_t n_fields = make_fields(fields);
    _cleanup_json_ json_t *doc = json_read(text, (size_t)n, &fault);
    if (!doc || json_check(doc, fields, n_fields, &fault) < 0)
        return err_set(err, -EINVAL, "configuration %s: %s%s%s", path, fault.pointer,
                       fault.pointer[0] ? ": " : "", fault.text);
    c->stop_environments = json_get_boolean(doc, "stop_environments", false);
    for (size_t i = 0; i < N_SETTINGS; i++) {
        const json_t *value = json_object_get(doc, settings[i].member);
        int rc = value ? apply_member(c, &settings[i], value, err) : 0;
        if (rc < 0)
            return err_wrap(err, rc, "configuration %s", path);
    }
    return 0;
}

enum { OPTION_CONFIG = N_SETTINGS + 256, OPTION_STOP, OPTION_VERSION, OPTION_HELP };

static void make_options(struct option options[N_SETTINGS + 5])
{
    for (size_t i = 0; i < N_SETTINGS; i++)
        options[i] = (struct option){settings[i].option, required_argument, NULL, (int)i + 256};
    options[N_SETTINGS] = (struct option){"config", required_argument, NULL, OPTION_CONFIG};
    options[N_SETTINGS + 1] = (struct option){"stop-environments", no_argument, NULL, OPTION_STOP};
    options[N_SETTINGS + 2] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
    options[N_SETTINGS + 3] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    options[N_SETTINGS + 4] = (struct option){0};
}

// One pass over the command line: the first takes the file only, the second everything else, so that it wins.
static int read_options(int argc, char **argv, struct config *c, bool files, struct err *err)
{
    struct option options[N_SETTINGS + 5];
    make_options(options);
    optind = 1;
    opterr = 0;
    for (;;) {
        int o = getopt_long(argc, argv, "+:", options, NULL);
        if (o < 0)
            break;
        if (o == '?' || o == ':')
            return err_set(err, -EINVAL, "%s: %s; see --help", argv[optind - 1],
                           o == ':' ? "needs a value" : "there is no such option");
        if (o == OPTION_HELP || o == OPTION_VERSION)
            return o == OPTION_HELP ? CONFIG_HELP : CONFIG_VERSION;
        int rc = 0;
        if (o == OPTION_CONFIG && files)
            rc = read_file(c, optarg, err);
        else if (o == OPTION_STOP)
            c->stop_environments = true;
        else if (o < OPTION_CONFIG && !files)
            rc = apply(c, &settings[o - 256], optarg, err);
        if (rc < 0)
            return rc;
    }
    if (optind < argc)
        return err_set(err, -EINVAL, "%s: envd takes options only; see --help", argv[optind]);
    return CONFIG_RUN;
}

// The machine's name up to its first dot, if that can be one here.
static void take_machine_name(struct config *c)
{
    char name[HOST_NAME_MAX + 1] = "";
    if (gethostname(name, sizeof name - 1) < 0)
        return;
    name[strcspn(name, ".")] = '\0';
    if (name_valid(name, strlen(name)))
        memcpy(c->host_name, name, strlen(name) + 1);
}

static int check_broker(const struct config *c, struct err *err)
{
    const struct config_broker *b = &c->broker;
    if (b->host[0] == '\0')
        return 0;
    if (c->host_name[0] == '\0')
        return err_set(err, -EINVAL,
                       "--host-name NAME is needed with --broker: the machine's name is not one");
    if (b->password_file[0] == '\0' && b->cert[0] == '\0')
        return err_set(err, -EINVAL,
                       "--broker needs --broker-password-file, or --broker-cert and --broker-key");
    if ((b->cert[0] == '\0') != (b->key[0] == '\0'))
        return err_set(err, -EINVAL, "--broker-cert and --broker-key need each other");
    return 0;
}

int config_read(int argc, char **argv, struct config *ret, struct err *err)
{
    struct config c = {
        .log_kib = 256,
        .log_kib_per_s = 1024,
        .image_mib_max = 16384,
        .journal_mib_max = 4096,
        .journal_segment_kib = 16384,
        .attempts_max = 16,
        .dead_letters_max = 100,
        .boot_timeout_ms = 30000,
        .linux_boot_timeout_ms = 120000,
        .log_level = LOG_LEVEL_INFO,
        .kernel = ENVD_CELL_KERNEL,
    };
    set_network(&c, "10.77.0.0/16", NULL);
    take_machine_name(&c);
    int rc = read_options(argc, argv, &c, true, err);
    if (rc == CONFIG_RUN)
        rc = read_options(argc, argv, &c, false, err);
    if (rc != CONFIG_RUN)
        return rc;
    if (c.state[0] == '\0')
        return err_set(err, -EINVAL, "--state DIR is needed; see --help");
    if (c.run[0] == '\0')
        return err_set(err, -EINVAL, "--run DIR is needed; see --help");
    rc = check_broker(&c, err);
    if (rc < 0)
        return rc;
    *ret = c;
    return CONFIG_RUN;
}
