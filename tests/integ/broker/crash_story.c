// A broker that is killed and started again while messages flow: nothing confirmed is lost, order holds.
#include "load.h"

#define TOTAL 60000
#define KILLS 2

static void nothing_is_lost_when_the_broker_is_killed_under_load(void **state)
{
    struct load l;
    struct broker_config config = peer_config();
    (void)state;
    load_start(&l, &config, &config, "mailbox.acme.crash", TOTAL);
    for (int i = 0; i < KILLS; i++) {
        run_until_state(&l.sender, BROKER_READY, 60);
        load_run(&l, 400);
        assert_true(l.sent < l.total); // else it shows nothing
        rig_broker_meanwhile("node", "kill 1");
        run_for(200);
        assert_int_not_equal(l.sender.state, BROKER_READY);
        rig_broker_meanwhile("node", "start 1");
    }
    load_finish(&l, 60);
    assert_true(peer_stats(&l.sender).reconnects >= KILLS);
    assert_true(peer_stats(&l.sender).republished > 0);
    load_stop(&l);
}

static void an_orderly_restart_is_waited_for_too(void **state)
{
    struct load l;
    struct broker_config config = peer_config();
    (void)state;
    load_start(&l, &config, &config, "mailbox.acme.restart", TOTAL / 3);
    load_run(&l, 300);
    rig_broker_meanwhile("node", "stop 1");
    rig_broker_meanwhile("node", "start 1");
    load_finish(&l, 60);
    load_stop(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_when_the_broker_is_killed_under_load),
        cmocka_unit_test(an_orderly_restart_is_waited_for_too),
    };
    int rc = rig_start("");
    if (rc != 0)
        return rc;
    rc = cmocka_run_group_tests_name("broker/crash", tests, NULL, NULL);
    rig_stop();
    return rc;
}
