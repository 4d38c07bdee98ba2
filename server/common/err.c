// Owns the text of errors: set once where they happen, wrapped on the way up. Called by every host program.
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int rc, const char *format, ...)
{
    if (!err)
        return rc;
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    return rc;
}

// Appends as much of s as fits.
static void append(struct err *err, const char *s)
{
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "%s", s);
}

int err_errno(struct err *err, int rc, const char *format, ...)
{
    if (!err)
        return rc;
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    append(err, ": ");
    append(err, strerror(-rc));
    return rc;
}

int err_wrap(struct err *err, int rc, const char *format, ...)
{
    if (!err)
        return rc;
    char inner[ERR_TEXT_CAP];
    memcpy(inner, err->text, sizeof inner);
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->text, sizeof err->text, format, ap);
    va_end(ap);
    append(err, ": ");
    append(err, inner);
    return rc;
}
