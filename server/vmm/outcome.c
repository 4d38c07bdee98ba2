// Owns the making of outcomes. Called where a VM ends.
#include "outcome.h"

#include <stdarg.h>
#include <stdio.h>

void outcome_fail(struct outcome *o, enum vmctl_cause cause, const char *format, ...)
{
    *o = (struct outcome){.state = VMCTL_FAILED, .cause = cause};
    va_list ap;
    va_start(ap, format);
    vsnprintf(o->reason, sizeof o->reason, format, ap);
    va_end(ap);
}

void outcome_exit(struct outcome *o, int32_t code, const char *reason)
{
    *o = (struct outcome){.state = VMCTL_EXITED, .cause = VMCTL_CAUSE_NONE, .code = code};
    snprintf(o->reason, sizeof o->reason, "%s", reason);
}
