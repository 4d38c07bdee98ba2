// Lists that come in pages.
#pragma once

#include <jansson.h>

#include "cli.h"
#include "format.h"

// Gets every page of path (which may have a query) and returns all items as one array in *ret_items (owned by
// the caller). 0 or an exit code.
int pages_get(struct cli *cli, const char *path, json_t **ret_items);
// Prints all of them: as JSON, or as a table of these columns.
int pages_show(struct cli *cli, const char *path, const struct format_column *columns, size_t n_columns);
// A query value, percent-encoded. False when it does not fit.
bool query_encode(const char *value, char *out, size_t cap);
