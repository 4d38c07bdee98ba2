// Owns envctl's standard output formats. Called by the verbs. Terminal control characters never pass: texts
// can come from guests.
#include "format.h"

#include <stdio.h>
#include <string.h>

#include "harmless.h"

#define CELL_CAP 160

void format_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
}

static const json_t *member_at(const json_t *object, const char *path)
{
    char name[64];
    while (object && *path) {
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        object = json_object_get(object, name);
        path += path[n] == '.' ? n + 1 : n;
    }
    return object;
}

static void scalar_text(const json_t *value, char *out, size_t cap)
{
    if (json_is_string(value))
        snprintf(out, cap, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(out, cap, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(out, cap, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(out, cap, "-");
    harmless_text(out);
}

const char *format_member(const json_t *object, const char *path, char *out, size_t cap)
{
    scalar_text(member_at(object, path), out, cap);
    return out;
}

void format_table(const json_t *items, const struct format_column *columns, size_t n_columns)
{
    size_t width[16] = {0};
    char cell[CELL_CAP];
    size_t row;
    const json_t *item;
    n_columns = n_columns < 16 ? n_columns : 16;
    for (size_t c = 0; c < n_columns; c++)
        width[c] = strlen(columns[c].title);
    json_array_foreach(items, row, item)
    {
        for (size_t c = 0; c < n_columns; c++) {
            size_t len = strlen(format_member(item, columns[c].path, cell, sizeof cell));
            width[c] = len > width[c] ? len : width[c];
        }
    }
    for (size_t c = 0; c < n_columns; c++)
        printf("%-*s%s", c + 1 < n_columns ? (int)width[c] : 0, columns[c].title,
               c + 1 < n_columns ? "  " : "\n");
    json_array_foreach(items, row, item) for (size_t c = 0; c < n_columns; c++)
        printf("%-*s%s", c + 1 < n_columns ? (int)width[c] : 0,
               format_member(item, columns[c].path, cell, sizeof cell), c + 1 < n_columns ? "  " : "\n");
}

static void print_below(const json_t *value, const char *prefix)
{
    const char *key;
    const json_t *member;
    size_t i;
    char path[256];
    char text[1024];
    json_object_foreach((json_t *)value, key, member)
    {
        snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", key);
        if (json_is_object(member) || json_is_array(member)) {
            print_below(member, path);
            continue;
        }
        scalar_text(member, text, sizeof text);
        printf("%-24s %s\n", path, text);
    }
    json_array_foreach(value, i, member)
    {
        snprintf(path, sizeof path, "%s[%zu]", prefix, i);
        if (json_is_object(member) || json_is_array(member)) {
            print_below(member, path);
            continue;
        }
        scalar_text(member, text, sizeof text);
        printf("%-24s %s\n", path, text);
    }
}

void format_object(const json_t *object)
{
    print_below(object, "");
}
