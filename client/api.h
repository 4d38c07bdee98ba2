// envctl's side of the HTTP API: requests over envd's Unix socket, problems turned into messages and exit
// codes. Everything returns 0 or a cli exit code with cli->err set.
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "cli.h"

struct api_reply {
    long status;
    json_t *body;       // owned; NULL when it is not JSON
    char operation[64]; // header Envd-Operation
};

void api_reply_done(struct api_reply *reply);
// Sends body (stolen; may be NULL) and reads a JSON reply. if_match: revision for If-Match, "*" or NULL.
// A status of 400 and above becomes the failure it describes.
int api_call(struct cli *cli, const char *method, const char *path, json_t *body, const char *if_match,
             struct api_reply *ret);
// GETs path and prints the object there: as JSON, or a line for each of its members.
int api_show(struct cli *cli, const char *path);
// True and 0 exit code semantics of HEAD: *ret_exists.
int api_exists(struct cli *cli, const char *path, bool *ret_exists);
// PUTs size bytes of fd (from its start); shows its progress as label.
int api_upload(struct cli *cli, const char *path, int fd, uint64_t size, const char *label,
               struct api_reply *ret);
// GETs path and hands the body to sink as it comes; sink returns false to stop (which is success).
typedef bool api_sink(void *arg, const char *data, size_t len);
int api_stream(struct cli *cli, const char *path, api_sink *sink, void *arg);

// For those with a connection of their own (channel.h): the failure that a problem, or a CURLcode, describes.
int api_explain_problem(struct cli *cli, long status, const json_t *problem);
int api_explain_connection(struct cli *cli, int curl_code);

// Waits for an operation when cli->wait; prints its failure. what: for messages, as "start acme/web".
int api_wait(struct cli *cli, const char *operation, const char *what);

// Splits "tenant/name" into the API's path; CLI_USAGE with an explanation otherwise.
#define API_PATH_CAP 256
int api_environment_path(struct cli *cli, const char *address, const char *suffix, char out[API_PATH_CAP]);
