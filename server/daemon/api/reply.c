// Owns how replies look: objects, problems. Called by every handler.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"

void reply_count(struct api *api, int status)
{
    if (status >= 0 && status < API_STATUS_MAX)
        api->replies[status]++;
}

void reply_refusal(struct api *api, struct http_request *req, const struct refusal *why)
{
    json_t *extra = json_object();
    if (why->remedy[0])
        json_object_set_new(extra, "remedy", json_string(why->remedy));
    if (why->member[0])
        json_object_set_new(extra, "member", json_string(why->member));
    reply_count(api, why->status);
    http_reply_problem(req, why->status, why->code, extra, "%s", why->detail);
}

void reply_problem(struct api *api, struct http_request *req, int status, const char *code,
                   const char *detail, ...)
{
    struct refusal why = {.status = status, .code = code};
    va_list ap;
    va_start(ap, detail);
    vsnprintf(why.detail, sizeof why.detail, detail, ap);
    va_end(ap);
    reply_refusal(api, req, &why);
}

void reply_object(struct api *api, struct http_request *req, int status, json_t *object)
{
    const json_t *revision = json_object_get(object, "revision");
    if (json_is_integer(revision)) {
        char etag[32];
        snprintf(etag, sizeof etag, "\"%lld\"", (long long)json_integer_value(revision));
        http_reply_header(req, "ETag", etag);
    }
    reply_count(api, object ? status : 500);
    http_reply_json(req, status, object);
}

void reply_fault(struct api *api, struct http_request *req, const struct json_fault *fault)
{
    struct refusal why;
    bool malformed = strcmp(fault->code, "malformed-json") == 0;
    refuse(&why, -EINVAL, malformed ? 400 : 422, fault->code, "the request's body: %s%s%s", fault->pointer,
           fault->pointer[0] ? ": " : "", fault->text);
    snprintf(why.member, sizeof why.member, "%s", fault->pointer);
    reply_refusal(api, req, &why);
}

void refusal_of_store(const struct store_result *result, struct refusal *why)
{
    switch (-result->rc) {
    case ENOSPC:
    case EDQUOT:
    case EROFS:
        refuse(why, result->rc, 507, "disk-full", "the change could not be stored: %s", result->err.text);
        refusal_remedy(why, "Make room under the state folder and try again; nothing was changed");
        break;
    case ESTALE:
    case EBUSY:
    case ESHUTDOWN:
        refuse(why, result->rc, 503, "busy", "the change could not be stored now: %s", result->err.text);
        refusal_remedy(why, "Try again in a moment; nothing was changed");
        break;
    default:
        refuse(why, result->rc, 500, "internal", "the change could not be stored: %s", result->err.text);
    }
}
