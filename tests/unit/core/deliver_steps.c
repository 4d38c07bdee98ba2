// See deliver_steps.h.
#include "deliver_steps.h"

struct fake *f;

int deliver_setup(void **state)
{
    (void)state;
    f = fake_new();
    fake_link_up(f);
    return 0;
}

int deliver_teardown(void **state)
{
    (void)state;
    fake_free(f);
    return 0;
}

void deliver(uint8_t id, const char *to)
{
    struct agent_frame m = fake_message(AGENT_DELIVER, MESSAGE_SEND, id, to);
    fake_say(f, FAKE_HOST, &m);
}

void assert_got(int client, uint8_t id)
{
    struct agent_frame d = fake_expect(f, client, AGENT_DELIVER);
    assert_int_equal(d.envelope.id.bytes[15], id);
    assert_int_equal(d.tag, 0);
}

void answer(int client, enum agent_frame_type type, uint8_t id)
{
    fake_say(f, client, &(struct agent_frame){.type = type, .id = fake_id(id)});
}

void assert_told(enum agent_frame_type type, uint8_t id)
{
    assert_int_equal(fake_expect(f, FAKE_HOST, type).id.bytes[15], id);
}

void give_credit(int client, uint32_t n)
{
    fake_say(f, client, &(struct agent_frame){.type = AGENT_CREDIT, .credit = n});
}

void serve(int client, const char *service)
{
    fake_say(f, client,
             &(struct agent_frame){.type = AGENT_REGISTER, .tag = 1, .service = fake_view(service)});
    uint32_t tag = fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag;
    fake_say(f, FAKE_HOST, &(struct agent_frame){.type = AGENT_RESULT, .tag = tag});
    fake_expect(f, client, AGENT_RESULT);
}

void reconnect(void)
{
    fake_hang_up(f, FAKE_HOST);
    f->host.heard.len = f->host.heard.done = 0;
    fake_pass(f, 5000);
    fake_link_up(f);
}
