// What the verbs share: messages to people, numbers, connecting.
#include "guest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS (24ul * 3600 * 1000)

int guest_fail(const char *verb, int exit_code, const char *next, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "envctl %s: ", verb);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    if (next)
        fprintf(stderr, "  %s\n", next);
    return exit_code;
}

int guest_usage(const char *verb, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "envctl %s: %s\n", verb, text);
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, verb) == 0)
            fprintf(stderr, "  usage: envctl %s\n", v->usage);
    return EXIT_USAGE;
}

// What to try, by what libenv said. Receipts bring their own hints.
static const struct {
    int rc;
    int exit_code;
    const char *next;
} hints[] = {
    {-ETIMEDOUT, EXIT_TIMEOUT, "Wait longer with --timeout, or see whether the other side serves."},
    {-EINVAL, EXIT_USAGE,
     "An address is NAME, TENANT/NAME, :SERVICE or TENANT/:SERVICE; a subject has dots between words."},
    {-ECONNRESET, EXIT_FAILED, "Try again."},
    {-ESHUTDOWN, EXIT_FAILED, NULL},
};

int guest_report(const char *verb, const struct env *env, int rc, const char *what)
{
    const char *separator = what ? ": " : "";
    what = what ? what : "";
    if (rc > 0)
        return guest_fail(verb, receipt_exit_code((enum receipt_code)rc),
                          receipt_code_hint((enum receipt_code)rc), "%s%s%s", what, separator,
                          env_error(env));
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (hints[i].rc == rc)
            return guest_fail(verb, hints[i].exit_code, hints[i].next, "%s%s%s", what, separator,
                              env_error(env));
    return guest_fail(verb, EXIT_FAILED, NULL, "%s%s%s", what, separator, env_error(env));
}

int guest_open(const char *verb, struct env **ret_env)
{
    int rc = env_open(ret_env);
    return rc < 0 ? guest_report(verb, NULL, rc, NULL) : 0;
}

bool guest_parse_count(const char *text, unsigned long max, unsigned long *ret)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *ret = strtoul(text, &end, 10);
    return errno == 0 && *end == '\0' && *ret <= max;
}

bool guest_parse_ms(const char *text, int *ret_ms)
{
    static const struct {
        const char *name;
        unsigned long ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}};
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].name) != 0)
            continue;
        if (errno != 0 || n == 0 || n > DAY_MS / units[i].ms)
            return false;
        *ret_ms = (int)(n * units[i].ms);
        return true;
    }
    return false;
}

bool guest_parse_format(const char *text, bool *ret_json)
{
    *ret_json = strcmp(text, "json") == 0;
    return *ret_json || strcmp(text, "text") == 0;
}

void guest_print_json_string(const char *s, size_t n)
{
    putchar('"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

int guest_print(const char *verb, const void *data, size_t n)
{
    // ferror: an earlier line's write may have failed, and stdio has thrown that line away.
    if (fwrite(data, 1, n, stdout) == n && fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return guest_fail(verb, EXIT_FAILED, NULL, "write to standard output: %s", strerror(errno));
}
