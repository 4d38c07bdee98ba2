// envctl whoami: this environment's address, as others write it.
#include <stdio.h>

#include "guest.h"

int verb_whoami(int argc, char **argv)
{
    struct env *env = NULL;
    if (argc > 1)
        return guest_usage("whoami", "\"%s\" is one word too many", argv[1]);
    int exit_code = guest_open("whoami", &env);
    if (exit_code == 0) {
        char text[2 * NAME_CAP + 1];
        int n = snprintf(text, sizeof text, "%s/%s\n", env_identity(env)->tenant, env_identity(env)->name);
        exit_code = guest_print("whoami", text, (size_t)n);
    }
    env_close(env);
    return exit_code;
}
