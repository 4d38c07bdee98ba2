// Owns the command line of envpriv. Called by main.c.
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define UID_BASE_MIN 100000u // above the users of any usual machine
#define UID_BASE_MAX 4294900000u

const char options_usage[] =
    "envpriv: the privileged half of envd. Makes bridges, taps and cgroups, starts envvm processes in "
    "jails.\n"
    "usage: envpriv --run FOLDER --envvm FILE --user USER [options]\n"
    "  --run FOLDER      where its socket is (priv.sock); made when missing\n"
    "  --envvm FILE      the envvm program, static\n"
    "  --user USER       name or number of the user that envd runs as\n"
    "  --instance XXXX   four of a-z and 0-9 that tell this host's envpriv processes apart, in the names of "
    "links, tables\n"
    "                    and cgroups (default: made from FOLDER)\n"
    "  --uid-base N      environments run as users N to N+2047 (default: made from the instance)\n"
    "  --debug           log refused requests too\n"
    "It stays in the foreground and logs to standard error. SIGTERM ends it and every environment.\n";

static int parse_number(const char *s, uint32_t min, uint32_t max, uint32_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(s, &end, 10);
    if (*s < '0' || *s > '9' || *end || errno || v < min || v > max)
        return -EINVAL;
    *ret = (uint32_t)v;
    return 0;
}

static int parse_user(const char *s, struct options *o, struct err *err)
{
    uint32_t uid;
    bool number = parse_number(s, 0, UID_BASE_MAX, &uid) == 0;
    const struct passwd *p = number ? getpwuid(uid) : getpwnam(s);
    if (!p && !number)
        return err_set(err, -EINVAL, "--user %s: there is no such user", s);
    o->user = p ? p->pw_uid : uid;
    o->group = p ? p->pw_gid : uid; // a number without an account has a group of the same number
    return 0;
}

static int parse_one(int option, const char *value, struct options *o, struct err *err)
{
    switch (option) {
    case 'r':
        o->run = value;
        return 0;
    case 'e':
        o->envvm = value;
        return 0;
    case 'u':
        return parse_user(value, o, err);
    case 'i':
        o->has_instance = instance_parse(value, &o->instance);
        return o->has_instance ? 0
                               : err_set(err, -EINVAL, "--instance %s: has to be four of a-z and 0-9", value);
    case 'b':
        return parse_number(value, UID_BASE_MIN, UID_BASE_MAX, &o->uid_base) == 0
                   ? 0
                   : err_set(err, -EINVAL, "--uid-base %s: has to be a number from %u", value, UID_BASE_MIN);
    case 'd':
        o->debug = true;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    default:
        return err_set(err, -EINVAL, "unknown option or missing value (envpriv --help)");
    }
}

int options_parse(int argc, char **argv, struct options *ret, struct err *err)
{
    static const struct option table[] = {
        {"run", required_argument, NULL, 'r'},      {"envvm", required_argument, NULL, 'e'},
        {"user", required_argument, NULL, 'u'},     {"instance", required_argument, NULL, 'i'},
        {"uid-base", required_argument, NULL, 'b'}, {"debug", no_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},           {0},
    };
    struct options o = {.user = (uid_t)-1};
    optind = 0;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        int rc = parse_one(option, optarg, &o, err);
        if (rc < 0)
            return rc;
    }
    if (!o.help && (optind != argc || !o.run || !o.envvm || o.user == (uid_t)-1))
        return err_set(err, -EINVAL,
                       "--run, --envvm and --user are needed, and nothing else (envpriv --help)");
    *ret = o;
    return 0;
}
