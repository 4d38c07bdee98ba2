// A cluster of three with quorum queues: one node after the other is killed under load and comes back.
#include "load.h"

#include <stdio.h>

#define TOTAL 40000

static void nothing_is_lost_when_a_node_is_killed_under_load(void **state)
{
    struct load l;
    struct broker_config sender = peer_config(), receiver = peer_config();
    char all[64];
    (void)state;
    snprintf(all, sizeof all, "127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u", rig_port(1, false),
             rig_port(2, false), rig_port(3, false));
    sender.host = all;
    sender.queue_type = receiver.queue_type = BROKER_QUEUE_QUORUM;
    receiver.port = rig_port(2, false); // the queue's leader is where it is declared
    load_start(&l, &sender, &receiver, "mailbox.acme.cluster", TOTAL);
    load_run(&l, 500);
    rig_broker_meanwhile("node", "kill 3"); // a follower: a majority is left
    load_run(&l, 500);
    rig_broker_meanwhile("node", "start 3");
    rig_broker_meanwhile("node", "kill 2"); // the leader, and the receiver's connection
    load_run(&l, 500);
    rig_broker_meanwhile("node", "start 2");
    assert_int_equal(peer_stats(&l.sender).reconnects, 0); // its own node never went away
    assert_true(l.sent < l.total);
    rig_broker_meanwhile("node", "kill 1"); // now it does: the next one is as good
    load_finish(&l, 100);
    assert_in_range(peer_stats(&l.sender).reconnects, 1, 100);
    load_stop(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_when_a_node_is_killed_under_load),
    };
    int rc = rig_start("--nodes 3");
    if (rc != 0)
        return rc;
    rc = cmocka_run_group_tests_name("broker/cluster", tests, NULL, NULL);
    rig_stop();
    return rc;
}
