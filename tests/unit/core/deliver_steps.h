// What the tests of messages from the host (agent/core/deliver.c) are made of: an agent with a link, in
// memory.
#pragma once

#include "fake.h"

extern struct fake *f;

int deliver_setup(void **state);
int deliver_teardown(void **state);
#define DELIVER_TEST(name) cmocka_unit_test_setup_teardown(name, deliver_setup, deliver_teardown)

void deliver(uint8_t id, const char *to);
// The program has got that message.
void assert_got(int client, uint8_t id);
// ACK or RELEASE, from the program.
void answer(int client, enum agent_frame_type type, uint8_t id);
// The host has got the same.
void assert_told(enum agent_frame_type type, uint8_t id);
void give_credit(int client, uint32_t n);
void serve(int client, const char *service);
// The link breaks, and comes back.
void reconnect(void);
