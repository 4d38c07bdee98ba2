// Owns how requests are read: bodies, names, numbers, preconditions; each answers by itself when it refuses.
// Called by the handlers.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/internal.h"

json_t *request_body(struct api *api, struct http_request *req, const struct json_field *fields,
                     size_t n_fields, bool optional)
{
    size_t len;
    struct json_fault fault;
    const void *untrusted = http_request_body(req, &len);
    if (len == 0 && optional)
        return json_object();
    json_t *body = json_read(untrusted, len, &fault);
    if (body && (!fields || json_check(body, fields, n_fields, &fault) == 0))
        return body;
    json_decref(body);
    reply_fault(api, req, &fault);
    return NULL;
}

bool request_name(struct api *api, struct http_request *req, const char *param, const char **ret)
{
    const char *name = http_request_param(req, param);
    if (name && name_valid(name, strlen(name))) {
        *ret = name;
        return true;
    }
    struct refusal why;
    refuse(&why, -ENOENT, 404, strcmp(param, "tenant") == 0 ? "no-such-tenant" : "no-such-environment",
           "there is no such %s: what the path says is not a name", param);
    refusal_remedy(&why, "Names have 1 to 63 of a-z, 0-9 and -, and neither begin nor end with -");
    reply_refusal(api, req, &why);
    return false;
}

bool request_number(struct api *api, struct http_request *req, const char *name, uint64_t min, uint64_t max,
                    uint64_t otherwise, uint64_t *ret)
{
    const char *text = http_request_query(req, name);
    if (!text) {
        *ret = otherwise;
        return true;
    }
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n < min || n > max) {
        reply_problem(api, req, 400, "invalid-parameter", "%s= must be a number from %llu to %llu", name,
                      (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *ret = n;
    return true;
}

bool request_flag(struct api *api, struct http_request *req, const char *name, bool *ret)
{
    const char *text = http_request_query(req, name);
    bool yes = text && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0 || text[0] == '\0');
    if (text && !yes && strcmp(text, "false") != 0 && strcmp(text, "0") != 0) {
        reply_problem(api, req, 400, "invalid-parameter", "%s= must be true or false", name);
        return false;
    }
    *ret = yes;
    return true;
}

// "REVISION", with its quotes, or *.
static bool parse_etag(const char *text, struct precondition *ret)
{
    char *end;
    ret->given = true;
    if (strcmp(text, "*") == 0) {
        ret->any = true;
        return true;
    }
    if (text[0] != '"' || text[1] < '0' || text[1] > '9')
        return false;
    errno = 0;
    ret->revision = strtoull(text + 1, &end, 10);
    return errno == 0 && strcmp(end, "\"") == 0;
}

bool request_precondition(struct api *api, struct http_request *req, bool needed, struct precondition *ret)
{
    const char *text = http_request_header(req, "If-Match");
    struct refusal why;
    *ret = (struct precondition){0};
    if (!text && needed) {
        refuse(&why, -EINVAL, 428, "precondition-required",
               "a change of what exists needs the header If-Match");
        refusal_remedy(
            &why, "Send If-Match: \"REVISION\" with the revision of the object that you saw, or If-Match: *");
        reply_refusal(api, req, &why);
        return false;
    }
    if (text && !parse_etag(text, ret)) {
        reply_problem(api, req, 400, "invalid-header", "If-Match must be \"REVISION\", in quotes, or *");
        return false;
    }
    return true;
}

bool request_helper(struct api *api, struct http_request *req)
{
    struct refusal why;
    if (manager_helper_up(api->deps.manager))
        return true;
    const char *trouble = manager_helper_trouble(api->deps.manager);
    refuse(&why, -ENOTCONN, 503, "privileged-helper-unreachable",
           "envpriv, which starts virtual machines, is away: %s", trouble[0] ? trouble : "not yet connected");
    refusal_remedy(&why,
                   "Start envpriv with the same --run folder. What runs goes on running; try again then");
    reply_refusal(api, req, &why);
    return false;
}

const char *check_full_address(const char *key, const char *text, size_t len)
{
    struct address parsed;
    (void)key;
    const char *wrong = address_parse(text, len, &parsed);
    if (wrong)
        return wrong;
    return parsed.tenant[0] ? NULL
                            : "must say the tenant too, as in acme/web: operators have none of their own";
}

const char *check_subject(const char *key, const char *text, size_t len)
{
    (void)key;
    return subject_valid(text, len) ? NULL
                                    : "is not a subject: tokens of A-Z, a-z, 0-9, _ and -, joined by dots";
}
