// The life-cycle table, every cell, and its names.
#include "../testing.h"

#include <stdio.h>
#include <string.h>

#include "env/lifecycle.h"

static const char *const action_letters[ENV_ACTION_COUNT] = {
    [ENV_ACTION_ERROR] = "error",     [ENV_ACTION_NONE] = "-",         [ENV_ACTION_SPAWN] = "spawn",
    [ENV_ACTION_ATTACH] = "attach",   [ENV_ACTION_SHUTDOWN] = "shut",  [ENV_ACTION_ESCALATE] = "escal",
    [ENV_ACTION_KILL] = "kill",       [ENV_ACTION_GIVE_UP] = "giveup", [ENV_ACTION_RELEASE] = "release",
    [ENV_ACTION_RESUMED] = "resumed",
};

// A row per state, a cell per event in the order of enum env_event: "action>next", or "" where it cannot
// happen.
//        start  stop  spawned  refused  hello  agent-gone  guest-ended  ended  broke  missing  adopted
//        timeout paused resumed
static const char *const expected[ENV_STATE_COUNT][ENV_EVENT_COUNT] = {
    [ENV_DEFINED] = {"spawn>starting", "->defined", "", "", "", "", "", "", "", "", "", "", "", ""},
    [ENV_STARTING] = {"", "->stopping", "attach>booting", "release>failed", "", "", "->stopping",
                      "release>stopped", "release>failed", "spawn>starting", "attach>booting", "", "", ""},
    [ENV_BOOTING] = {"", "shut>stopping", "", "", "->ready", "->booting", "->stopping", "release>stopped",
                     "release>failed", "release>lost", "attach>booting", "giveup>stopping", "->paused",
                     "->booting"},
    [ENV_READY] = {"", "shut>stopping", "", "", "", "->booting", "->stopping", "release>stopped",
                   "release>failed", "release>lost", "attach>booting", "", "->paused", "->ready"},
    [ENV_STOPPING] = {"", "->stopping", "kill>stopping", "release>stopped", "shut>stopping", "->stopping",
                      "->stopping", "release>stopped", "release>failed", "release>stopped", "kill>stopping",
                      "escal>stopping", "->stopping", "->stopping"},
    [ENV_STOPPED] = {"spawn>starting", "->stopped", "", "", "", "", "", "", "", "", "", "", "", ""},
    [ENV_PAUSED] = {"", "shut>stopping", "", "", "->paused", "->paused", "->stopping", "release>stopped",
                    "release>failed", "release>lost", "attach>paused", "", "->paused", "resumed>booting"},
    [ENV_FAILED] = {"spawn>starting", "->failed", "", "", "", "", "", "", "", "", "", "", "", ""},
    [ENV_LOST] = {"spawn>starting", "->lost", "", "", "", "", "", "", "", "", "", "", "", ""},
};

static void every_cell_is_as_designed(void **state)
{
    (void)state;
    for (int s = 0; s < ENV_STATE_COUNT; s++)
        for (int e = 0; e < ENV_EVENT_COUNT; e++) {
            char want[64], got[64];
            struct env_transition t = lifecycle_next((enum env_state)s, (enum env_event)e);
            snprintf(got, sizeof got, "%s %s: %s>%s", env_state_name((enum env_state)s),
                     env_event_name((enum env_event)e), action_letters[t.action], env_state_name(t.next));
            const char *cell = expected[s][e][0] ? expected[s][e] : "error>";
            snprintf(want, sizeof want, "%s %s: %s%s", env_state_name((enum env_state)s),
                     env_event_name((enum env_event)e), cell,
                     expected[s][e][0] ? "" : env_state_name((enum env_state)s));
            assert_string_equal(got, want);
        }
}

static void an_event_that_cannot_happen_changes_nothing(void **state)
{
    (void)state;
    struct env_transition t = lifecycle_next(ENV_STOPPED, ENV_EVENT_HELLO);
    assert_int_equal(t.action, ENV_ACTION_ERROR);
    assert_int_equal(t.next, ENV_STOPPED);
}

static void without_a_machine_nothing_is_released_twice(void **state)
{
    (void)state;
    for (int s = 0; s < ENV_STATE_COUNT; s++) {
        if (env_state_has_vm((enum env_state)s))
            continue;
        for (int e = 0; e < ENV_EVENT_COUNT; e++)
            assert_int_not_equal(lifecycle_next((enum env_state)s, (enum env_event)e).action,
                                 ENV_ACTION_RELEASE);
    }
}

static void every_end_of_a_machine_releases_it(void **state)
{
    (void)state;
    for (int s = 0; s < ENV_STATE_COUNT; s++)
        for (int e = 0; e < ENV_EVENT_COUNT; e++) {
            struct env_transition t = lifecycle_next((enum env_state)s, (enum env_event)e);
            if (env_state_has_vm((enum env_state)s) && !env_state_has_vm(t.next))
                assert_int_equal(t.action, ENV_ACTION_RELEASE);
        }
}

static void names_of_states_are_parsed_back(void **state)
{
    (void)state;
    for (int s = 0; s < ENV_STATE_COUNT; s++) {
        enum env_state parsed = ENV_STATE_COUNT;
        assert_true(env_state_parse(env_state_name((enum env_state)s), &parsed));
        assert_int_equal(parsed, s);
    }
}

static void an_unknown_name_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    enum env_state parsed = ENV_LOST;
    assert_false(env_state_parse("running", &parsed));
    assert_int_equal(parsed, ENV_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cell_is_as_designed),
        cmocka_unit_test(an_event_that_cannot_happen_changes_nothing),
        cmocka_unit_test(without_a_machine_nothing_is_released_twice),
        cmocka_unit_test(every_end_of_a_machine_releases_it),
        cmocka_unit_test(names_of_states_are_parsed_back),
        cmocka_unit_test(an_unknown_name_is_refused_and_changes_nothing),
    };
    return cmocka_run_group_tests_name("env_lifecycle", tests, NULL, NULL);
}
