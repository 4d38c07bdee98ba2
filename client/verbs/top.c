// envctl top: what environments use, from two readings a while apart: rates over the time between them. On a
// terminal the table is drawn again and again until q or an interrupt; elsewhere, or with --once, it is
// printed once.
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "format.h"
#include "proto/name.h"
#include "terminal.h"
#include "verbs/verbs.h"

#define CLEAR          "\033[H\033[J"
#define ONCE_MS        1000
#define LINE_MAX_BYTES 256
#define FIRST_MS       500 // until the first table: nobody likes an empty screen
#define ROWS_OTHERS    3   // the sums, the title, and the line that is left free

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

// "12.3M" in six places at most. base: 1024 for bytes, 1000 for what is counted.
static const char *scaled(double n, double base, char out[16])
{
    static const char units[] = " KMGTP";
    size_t i = 0;
    for (; n >= 999.5 && i + 2 < sizeof units; i++)
        n /= base;
    snprintf(out, 16, i == 0 ? "%.0f" : "%.1f%c", n, units[i]);
    return out;
}

// --- the table ---

#define NAME_WIDTH_MIN 6
#define FIGURES_WIDTH  60 // state and what follows
#define COLUMNS        "%-*.*s  %-*.*s  %-8s  %6s  %6s  %6s  %6s  %6s  %6s"

struct table {
    struct row *rows;
    size_t n;
    int tenant_width, name_width;
};

// Rows in their order. False: no memory.
static bool table_make(struct table *t, const json_t *before, const json_t *now)
{
    *t = (struct table){
        .n = json_array_size(now), .tenant_width = NAME_WIDTH_MIN, .name_width = NAME_WIDTH_MIN};
    t->rows = calloc(t->n + 1, sizeof *t->rows);
    for (size_t i = 0; t->rows && i < t->n; i++) {
        const json_t *item = json_array_get(now, i);
        struct row *row = &t->rows[i];
        fill(row,
             find(before, json_string_value(json_object_get(item, "tenant")),
                  json_string_value(json_object_get(item, "name"))),
             item);
        if ((int)strlen(row->tenant) > t->tenant_width)
            t->tenant_width = (int)strlen(row->tenant);
        if ((int)strlen(row->name) > t->name_width)
            t->name_width = (int)strlen(row->name);
    }
    if (t->rows)
        qsort(t->rows, t->n, sizeof *t->rows, compare_rows);
    return t->rows;
}

// Long names are cut rather than figures.
static void table_fit(struct table *t, int columns)
{
    while (t->tenant_width + t->name_width + FIGURES_WIDTH > columns &&
           t->tenant_width + t->name_width > 2 * NAME_WIDTH_MIN)
        *(t->tenant_width > t->name_width ? &t->tenant_width : &t->name_width) -= 1;
}

// One line, cut where the terminal ends.
static void print_row(const struct table *t, const struct row *row, size_t columns)
{
    char cpu[16], memory[16], net[16], disk[16], messages[16], queued[16], line[LINE_MAX_BYTES];
    snprintf(cpu, sizeof cpu, "%.1f", row->cpu);
    snprintf(queued, sizeof queued, "%lld", row->queued);
    snprintf(line, sizeof line, COLUMNS, t->tenant_width, t->tenant_width, row->tenant, t->name_width,
             t->name_width, row->name, row->state, cpu, scaled(row->memory, 1024, memory),
             scaled(row->net, 1024, net), scaled(row->disk, 1024, disk),
             scaled(row->messages, 1000, messages), queued);
    printf("%.*s\n", (int)columns, line);
}

static void print_table(const struct table *t, size_t rows_max, size_t columns)
{
    char title[LINE_MAX_BYTES];
    snprintf(title, sizeof title, COLUMNS, t->tenant_width, t->tenant_width, "TENANT", t->name_width,
             t->name_width, "NAME", "STATE", "CPU%", "MEMORY", "NET/s", "DISK/s", "MSGS/s", "QUEUED");
    printf("%.*s\n", (int)columns, title);
    for (size_t i = 0; i < t->n && i < rows_max; i++)
        print_row(t, &t->rows[i], columns);
}

static void print(const json_t *before, const json_t *now)
{
    struct table t;
    if (table_make(&t, before, now))
        print_table(&t, t.n, LINE_MAX_BYTES);
    free(t.rows);
}

// A screenful, with the sums above it.
static void draw(const json_t *before, const json_t *now)
{
    uint16_t columns, rows;
    char memory[16], line[160];
    double cpu = 0, bytes = 0;
    struct table t;
    terminal_size(STDOUT_FILENO, &columns, &rows);
    fputs(CLEAR, stdout);
    if (table_make(&t, before, now)) {
        for (size_t i = 0; i < t.n; i++) {
            cpu += t.rows[i].cpu;
            bytes += t.rows[i].memory;
        }
        snprintf(line, sizeof line, "%zu environments, CPU %.1f%% (100%% is one CPU), memory %s; q quits",
                 t.n, cpu, scaled(bytes, 1024, memory));
        printf("%.*s\n", (int)columns, line);
        table_fit(&t, columns);
        print_table(&t, rows > ROWS_OTHERS ? rows - (size_t)ROWS_OTHERS : 1, columns);
    }
    free(t.rows);
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
        print(json_object_get(first.body, "items"), json_object_get(second.body, "items"));
    if (rc == 0)
        api_reply_done(&second);
    api_reply_done(&first);
    return rc;
}

// True when the user wants to leave; also when the terminal is gone.
static bool wait_or_leave(int signals, int ms)
{
    struct pollfd in[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    char key;
    if (poll(in, 2, ms) <= 0)
        return false;
    int sig = in[1].revents ? terminal_next_signal(signals) : 0;
    if (sig == SIGCONT)
        terminal_again();
    if (sig != 0 && sig != SIGCONT && sig != SIGWINCH)
        return true;
    return in[0].revents && (read(STDIN_FILENO, &key, 1) <= 0 || key == 'q' || key == 'Q');
}

static int live(struct cli *cli, const struct top *top)
{
    struct api_reply before = {0}, now;
    int signals = terminal_signals();
    if (signals < 0 || terminal_keys(STDIN_FILENO) < 0)
        return cli_fail(cli, CLI_ERROR, "the terminal cannot be used: try envctl top --once");
    int rc = read_once(cli, top, &before);
    for (int ms = FIRST_MS; rc == 0 && !wait_or_leave(signals, ms); ms = top->interval_ms) {
        rc = read_once(cli, top, &now);
        if (rc != 0)
            break;
        draw(json_object_get(before.body, "items"), json_object_get(now.body, "items"));
        api_reply_done(&before);
        before = now;
    }
    api_reply_done(&before);
    terminal_restore();
    close(signals);
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
