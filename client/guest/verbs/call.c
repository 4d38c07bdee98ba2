// envctl call: a call; the reply's body goes to standard output, byte for byte.
#include "guest.h"

int verb_call(int argc, char **argv)
{
    struct guest_message m;
    struct env *env = NULL;
    struct env_message *reply = NULL;
    int exit_code = guest_message_parse(&m, argc, argv, "call", true);
    if (exit_code == 0)
        exit_code = guest_open("call", &env);
    if (exit_code == 0) {
        int rc = env_call(env, &m.out, m.timeout_ms, &reply);
        exit_code = rc != 0 ? guest_report("call", env, rc, m.out.to)
                            : guest_print("call", reply->body, reply->body_len);
    }
    env_message_free(reply);
    env_close(env);
    guest_message_done(&m);
    return exit_code;
}
