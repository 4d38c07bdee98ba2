// Lists that come in pages.
#pragma once

#include <jansson.h>

#include "cli.h"

// Gets every page of path (which may have a query) and returns all items as one array in *ret_items (owned by
// the caller). 0 or an exit code.
int pages_get(struct cli *cli, const char *path, json_t **ret_items);
// A query value, percent-encoded. False when it does not fit.
bool query_encode(const char *value, char *out, size_t cap);
