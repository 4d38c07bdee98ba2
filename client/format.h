// What envctl prints on standard output: JSON as it came, or tables.
#pragma once

#include <jansson.h>

// Indented, with a newline.
void format_json(const json_t *value);

// A table of objects: one row per element of items. path: members by dots ("status.state"); missing ones show
// as "-".
struct format_column {
    const char *title;
    const char *path;
};
void format_table(const json_t *items, const struct format_column *columns, size_t n_columns);
// The scalar at path as text into out ("-" when there is none). Returns out.
const char *format_member(const json_t *object, const char *path, char *out, size_t cap);
// "NAME  value" lines for every scalar below object, paths by dots.
void format_object(const json_t *object);
