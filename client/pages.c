// Owns the following of cursors. Called by the verbs that list.
#include "pages.h"

#include <stdio.h>
#include <string.h>

#include "api.h"

bool query_encode(const char *value, char *out, size_t cap)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t n = 0;
    for (; *value; value++) {
        if (n + 4 > cap)
            return false;
        if (strchr(plain, *value))
            out[n++] = *value;
        else
            n += (size_t)snprintf(out + n, cap - n, "%%%02X", (unsigned)(unsigned char)*value);
    }
    out[n] = '\0';
    return true;
}

int pages_get(struct cli *cli, const char *path, json_t **ret_items)
{
    json_t *all = json_array();
    char cursor[512] = "";
    do {
        char page[1024];
        snprintf(page, sizeof page, "%s%climit=1000%s%s", path, strchr(path, '?') ? '&' : '?',
                 *cursor ? "&cursor=" : "", cursor);
        struct api_reply reply;
        int rc = api_call(cli, "GET", page, NULL, NULL, &reply);
        if (rc != 0) {
            json_decref(all);
            return rc;
        }
        json_array_extend(all, json_object_get(reply.body, "items"));
        const char *next = json_string_value(json_object_get(reply.body, "cursor"));
        if (!next || !query_encode(next, cursor, sizeof cursor))
            cursor[0] = '\0';
        api_reply_done(&reply);
    } while (*cursor);
    *ret_items = all;
    return 0;
}

int pages_show(struct cli *cli, const char *path, const struct format_column *columns, size_t n_columns)
{
    json_t *items;
    int rc = pages_get(cli, path, &items);
    if (rc != 0)
        return rc;
    if (cli->json)
        format_json(items);
    else
        format_table(items, columns, n_columns);
    json_decref(items);
    return 0;
}
