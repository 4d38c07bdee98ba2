// envctl top: what environments use, from two readings a while apart: rates over the time between them. On a
// terminal the table is drawn again and again until q or an interrupt; elsewhere, or with --once, it is
// printed once.
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "format.h"
#include "proto/name.h"
#include "terminal.h"
#include "verbs/verbs.h"

#define CLEAR       "\033[H\033[J"
#define ONCE_MS     1000
#define ROWS_OTHERS 2 // the title, and the line that is left free

struct row {
    const char *tenant, *name, *state;
    double cpu, net, disk, messages; // percent of one CPU; bytes, bytes and messages a second
    double memory;                   // bytes
    long long queued;
};

struct top {
    const char *path, *sort;
    int interval_ms;
};

static int (*compare)(const struct row *a, const struct row *b);

static int descending(double a, double b)
{
    return (a < b) - (a > b);
}

static int by_name(const struct row *a, const struct row *b)
{
    int d = strcmp(a->tenant, b->tenant);
    return d ? d : strcmp(a->name, b->name);
}

static int by_cpu(const struct row *a, const struct row *b)
{
    return descending(a->cpu, b->cpu);
}

static int by_memory(const struct row *a, const struct row *b)
{
    return descending(a->memory, b->memory);
}

static int by_net(const struct row *a, const struct row *b)
{
    return descending(a->net, b->net);
}

static int by_disk(const struct row *a, const struct row *b)
{
    return descending(a->disk, b->disk);
}

static int by_messages(const struct row *a, const struct row *b)
{
    return descending(a->messages, b->messages);
}

static const struct {
    const char *name;
    int (*compare)(const struct row *a, const struct row *b);
} sorts[] = {
    {"cpu", by_cpu},   {"memory", by_memory},     {"net", by_net},
    {"disk", by_disk}, {"messages", by_messages}, {"name", by_name},
};

static int compare_rows(const void *a, const void *b)
{
    int d = compare(a, b);
    return d ? d : by_name(a, b);
}

// --- figures ---

static double number(const json_t *object, const char *group, const char *member)
{
    const json_t *of = group ? json_object_get(object, group) : object;
    return json_number_value(json_object_get(of, member));
}

static const json_t *find(const json_t *items, const char *tenant, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(
        items, i, item) if (strcmp(json_string_value(json_object_get(item, "tenant")), tenant) == 0 &&
                            strcmp(json_string_value(json_object_get(item, "name")), name) == 0) return item;
    return NULL;
}

// A second's worth of a counter; a new machine begins at 0 again.
static double rate(const json_t *before, const json_t *now, const char *group, const char *member,
                   double seconds)
{
    double d = number(now, group, member) - number(before, group, member);
    return before && d > 0 && seconds > 0 ? d / seconds : 0;
}

static void fill(struct row *row, const json_t *before, const json_t *now)
{
    double seconds = (number(now, NULL, "taken") - number(before, NULL, "taken")) / 1000;
    *row = (struct row){
        .tenant = json_string_value(json_object_get(now, "tenant")),
        .name = json_string_value(json_object_get(now, "name")),
        .state = json_string_value(json_object_get(now, "state")),
        .cpu = rate(before, now, NULL, "cpu_ns", seconds) / 1e7,
        .net = rate(before, now, "net", "rx_bytes", seconds) + rate(before, now, "net", "tx_bytes", seconds),
        .disk = rate(before, now, "disk", "read_bytes", seconds) +
                rate(before, now, "disk", "write_bytes", seconds),
        .messages = rate(before, now, "messages", "sent", seconds) +
                    rate(before, now, "messages", "received", seconds),
        .memory = number(now, "memory", "rss_bytes"),
        .queued = (long long)number(now, "messages", "queued"),
    };
}

// "12.3M" in eight places at most.
static const char *scaled(double n, char out[16])
{
    static const char units[] = " KMGTP";
    size_t i = 0;
    for (; n >= 1000 && i + 2 < sizeof units; i++)
        n /= 1024;
    snprintf(out, 16, i == 0 ? "%.0f" : "%.1f%c", n, units[i]);
    return out;
}

// --- the table ---

static unsigned rows_of_terminal(void)
{
    uint16_t columns, rows;
    terminal_size(STDOUT_FILENO, &columns, &rows);
    return rows > ROWS_OTHERS ? rows - (unsigned)ROWS_OTHERS : 1;
}

static void print(const json_t *before, const json_t *now, size_t rows_max)
{
    size_t n = json_array_size(now);
    struct row *rows = calloc(n + 1, sizeof *rows);
    char memory[16], net[16], disk[16], messages[16];
    for (size_t i = 0; rows && i < n; i++) {
        const json_t *item = json_array_get(now, i);
        fill(&rows[i],
             find(before, json_string_value(json_object_get(item, "tenant")),
                  json_string_value(json_object_get(item, "name"))),
             item);
    }
    printf("%-20s %-20s %-9s %7s %8s %8s %8s %8s %7s\n", "TENANT", "NAME", "STATE", "CPU%", "MEMORY", "NET/S",
           "DISK/S", "MSGS/S", "QUEUED");
    if (rows)
        qsort(rows, n, sizeof *rows, compare_rows);
    for (size_t i = 0; rows && i < n && i < rows_max; i++)
        printf("%-20s %-20s %-9s %7.1f %8s %8s %8s %8s %7lld\n", rows[i].tenant, rows[i].name, rows[i].state,
               rows[i].cpu, scaled(rows[i].memory, memory), scaled(rows[i].net, net),
               scaled(rows[i].disk, disk), scaled(rows[i].messages, messages), rows[i].queued);
    free(rows);
    fflush(stdout);
}

static int read_once(struct cli *cli, const struct top *top, struct api_reply *ret)
{
    return api_call(cli, "GET", top->path, NULL, NULL, ret);
}

static int once(struct cli *cli, const struct top *top)
{
    struct api_reply first, second;
    int rc = read_once(cli, top, &first);
    if (rc != 0)
        return rc;
    usleep(ONCE_MS * 1000);
    rc = read_once(cli, top, &second);
    if (rc == 0 && cli->json)
        format_json(second.body);
    else if (rc == 0)
        print(json_object_get(first.body, "items"), json_object_get(second.body, "items"), (size_t)-1);
    if (rc == 0)
        api_reply_done(&second);
    api_reply_done(&first);
    return rc;
}

// True when the user wants to leave. Lines, not keys: the terminal stays as it is.
static bool wait_or_leave(int ms)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[64];
    if (poll(&in, 1, ms) <= 0)
        return false;
    ssize_t n = read(STDIN_FILENO, line, sizeof line);
    return n <= 0 || line[0] == 'q';
}

static int live(struct cli *cli, const struct top *top)
{
    struct api_reply before = {0}, now;
    int rc = read_once(cli, top, &before);
    while (rc == 0 && !wait_or_leave(top->interval_ms)) {
        rc = read_once(cli, top, &now);
        if (rc != 0)
            break;
        fputs(CLEAR, stdout);
        print(json_object_get(before.body, "items"), json_object_get(now.body, "items"), rows_of_terminal());
        api_reply_done(&before);
        before = now;
    }
    api_reply_done(&before);
    return rc;
}

int verb_top(struct cli *cli, int argc, char **argv)
{
    const char *sort = "cpu", *interval = NULL;
    bool only_once = false;
    const struct cli_option options[] = {{"sort", 0, CLI_STRING, &sort},
                                         {"interval", 0, CLI_STRING, &interval},
                                         {"once", 0, CLI_FLAG, &only_once}};
    int n, rest;
    unsigned seconds = 2;
    char more, path[128] = "/v1/stats";
    int rc = cli_options(cli, options, 3, argc, argv, &n, &rest);
    if (rc == 0 && (n > 1 || (n == 1 && !name_valid(argv[0], strlen(argv[0])))))
        rc = cli_usage(cli);
    if (rc == 0 && interval &&
        (sscanf(interval, "%u%c", &seconds, &more) != 1 || seconds < 1 || seconds > 3600))
        rc = cli_fail(cli, CLI_USAGE, "--interval %s: seconds, 1 to 3600", interval);
    for (size_t i = 0; i < sizeof sorts / sizeof sorts[0]; i++)
        if (strcmp(sort, sorts[i].name) == 0)
            compare = sorts[i].compare;
    if (rc == 0 && !compare)
        rc = cli_fail(cli, CLI_USAGE, "--sort %s: cpu, memory, net, disk, messages or name", sort);
    if (rc != 0)
        return rc;
    if (n == 1)
        snprintf(path, sizeof path, "/v1/stats?tenant=%s", argv[0]);
    const struct top top = {path, sort, (int)seconds * 1000};
    bool show_live = !only_once && !cli->json && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
    return show_live ? live(cli, &top) : once(cli, &top);
}
