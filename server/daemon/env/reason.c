// Owns the reasons' remedies. Called by env/ and the API's views.
#include "env/reason.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/checked.h"

void reason_set(struct reason *r, const char *code, const char *format, ...)
{
    snprintf(r->code, sizeof r->code, "%s", code);
    va_list ap;
    va_start(ap, format);
    vsnprintf(r->text, sizeof r->text, format, ap);
    va_end(ap);
}

void reason_clear(struct reason *r)
{
    r->code[0] = r->text[0] = '\0';
}

// The first are envvm's causes (proto/vmctl.h; run.c has other words for some), the others envd's own.
static const struct {
    const char *code, *remedy;
} remedies[] = {
    {"config", "Install envd, envpriv and envvm of one release"},
    {"program", "Link the program statically for x86-64, upload it again, and name it in the spec"},
    {"kvm", "See what GET /v1 says of this host's KVM, and check /dev/kvm and its rights"},
    {"memory", "Give it less memory_mib, or make room on the host"},
    {"guest-fault", "Look at the registers and at its log for where the program faulted; mend the program"},
    {"triple-fault", "Look at its log; if the program is innocent, this is a bug of the cell kernel"},
    {"internal", "Look at what envvm told of its exit; if it recurs, this is a bug of envvm or KVM"},
    {"kernel-panic", "Look at its log for what the kernel said; give it the restart policy on-failure"},
    {"guest-hung", "Look at its log; give it the restart policy on-failure, or a longer spec.watchdog_s"},
    {"monitor-killed", "Start it again; if it recurs, look for the kernel's out-of-memory messages"},
    {"monitor-died", "Start it again; if it recurs, this is a bug of envvm"},
    {"monitor-exited", "Start it again; if it recurs, this is a bug of envvm"},
    {"monitor-protocol",
     "Install envd and envvm of one release; otherwise its virtual machine was taken over by its guest"},
    {"control-lost", "Start it again"},
    {"monitor-silent", "Look at what the host is busy with; envctl stop --grace 0 ends the environment"},
    {"spawn-refused", "Do what the text says, then start it again; envpriv's log may say more"},
    {"network-failed", "Do what the text says, then start it again; envpriv's log may say more"},
    {"no-broker", "Start envd with --broker, then start it again; a mailbox of class host needs none"},
    {"image-missing", "Upload the image again"},
    {"image-corrupt", "Upload the image again: envctl image import; and look after the host's disk"},
    {"no-hardware-kvm", "Run cells here, or move it to a host with VMX or SVM (on a virtual machine: with "
                        "nested virtualization)"},
    {"disk-unavailable", "Mend what the text names under the state folder, then start it again"},
    {"disk-full", "Make room under the state folder, then start it again"},
    {"log-unavailable", "Mend what the text names under the state folder, then start it again"},
    {"agent-timeout", "Look at its log; a host that is overloaded may need a larger --boot-timeout-ms"},
    {"host-restarted", "Start it again, or give it the restart policy on-failure"},
};

const char *reason_remedy(const char *code)
{
    for (size_t i = 0; i < ARRAY_LEN(remedies); i++)
        if (strcmp(code, remedies[i].code) == 0)
            return remedies[i].remedy;
    return NULL;
}
