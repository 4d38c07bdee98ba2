// Owns the requests that change an environment's state. Called by the verbs start, stop, restart, pause,
// resume and delete.
#include "lifecycle.h"

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "format.h"

static int change_one(struct cli *cli, const struct lifecycle *l, const char *address)
{
    char path[API_PATH_CAP];
    int rc = api_environment_path(cli, address, l->suffix, path);
    if (rc != 0)
        return rc;
    json_t *body = l->grace_ms >= 0 ? json_pack("{s:i}", "grace_ms", l->grace_ms) : NULL;
    struct api_reply reply;
    rc = api_call(cli, l->method, path, body, NULL, &reply);
    if (rc != 0)
        return rc;
    char what[160];
    snprintf(what, sizeof what, "%s %s", l->verb, address);
    const char *operation = json_string_value(json_object_get(reply.body, "name"));
    if (operation)
        rc = api_wait(cli, operation, what);
    if (rc == 0 && cli->json)
        format_json(reply.body);
    else if (rc == 0)
        fprintf(stderr, "%s %s\n", address, cli->wait ? l->done : l->going);
    api_reply_done(&reply);
    return rc;
}

int lifecycle_run(struct cli *cli, const struct lifecycle *l, char **addresses, int n)
{
    int result = 0;
    for (int i = 0; i < n; i++) {
        int rc = change_one(cli, l, addresses[i]);
        result = result != 0 ? result : rc;
        if (rc != 0 && i + 1 < n) { // the last one's is main's to tell
            cli_report(cli);
            cli->err.text[0] = cli->remedy[0] = '\0';
        }
    }
    return result;
}
