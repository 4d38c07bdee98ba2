// Owns how a refusal is filled in. Called by env/ and api/.
#include "env/refusal.h"

#include <stdarg.h>
#include <stdio.h>

int refuse(struct refusal *why, int rc, int status, const char *code, const char *format, ...)
{
    why->status = status;
    why->code = code;
    why->remedy[0] = '\0';
    why->member[0] = '\0';
    va_list ap;
    va_start(ap, format);
    vsnprintf(why->detail, sizeof why->detail, format, ap);
    va_end(ap);
    return rc;
}

void refusal_remedy(struct refusal *why, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(why->remedy, sizeof why->remedy, format, ap);
    va_end(ap);
}
