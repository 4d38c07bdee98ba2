// A cluster of three with quorum queues: one node after the other is killed under load and comes back.
#include "load.h"

#define TOTAL 20000

static void nothing_is_lost_when_a_node_is_killed_under_load(void **state)
{
    struct load l;
    struct broker_config sender = peer_config(), receiver = peer_config();
    (void)state;
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
    load_finish(&l, 100);
    assert_int_equal(peer_stats(&l.sender).reconnects, 0); // its own node never went away
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
