// The host's byte stream, to an agent with two programs: one serves "db" and takes messages, one waits for a
// reply. The first byte is the size of the pieces in which the rest arrives.
#include "harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct harness h;
    harness_init(&h, EVERY_CAPABILITY);
    harness_link_up(&h);
    harness_program(&h, 0);
    harness_program(&h, 1);
    h.polite_host = true;
    harness_say(
        &h, 0,
        &(struct agent_frame){.type = AGENT_REGISTER, .tag = 1, .service = {(const uint8_t *)"db", 2}});
    harness_pump(&h);
    h.polite_host = false;
    h.polite_programs = true;
    harness_say(&h, 0, &(struct agent_frame){.type = AGENT_CREDIT, .credit = 4});
    struct agent_frame call = harness_message(AGENT_SEND, MESSAGE_CALL, "db", 1);
    harness_say(&h, 1, &call);
    harness_say(&h, 1, &(struct agent_frame){.type = AGENT_CLOCK, .tag = 2});
    harness_pump(&h);
    size_t piece = size > 0 ? 1 + data[0] : 1;
    for (size_t i = 1; i < size && h.host.connected; i += piece) {
        harness_say_bytes(&h, HOST, data + i, size - i < piece ? size - i : piece);
        harness_pump(&h);
    }
    harness_pass(&h, 20000);
    harness_done(&h);
    return 0;
}
