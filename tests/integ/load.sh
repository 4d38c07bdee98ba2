# Sourced after lib.sh by stories that break things while messages flow: a load of which every accepted id is known, receivers
# that tell a ledger of each message, and what must hold at the end. Its programs are in crash/.
#
#   load_policy                        prints the rules that it needs
#   create_ledger                      acme/ledger, which the story must not kill
#   create_receiver TENANT/NAME [options of envctl create]
#   start_loads N                      N operators' streams to all receivers, through the envd in use
#   revive                             starts receivers that gave up
#   end_loads
#   check_load DEATHS                  everything accepted arrived, in order, and twice only what one of that many deaths held
# Stories of several hosts define at_ledger and at_receivers, which go to these hosts.
receivers=() loads=()
at_ledger() { :; }
at_receivers() { :; }
load_policy() { printf 'crash.load host/operator acme/* allow\ncrash.note acme/* acme/ledger allow\n'; }
create_ledger() { envctl create acme/ledger --program "$guest/crash-ledger" --start 2>/dev/null; }
create_receiver() {
    receivers+=("$1")
    envctl create "$@" --program "$guest/crash-receiver" --restart always --start 2>/dev/null
}

start_loads() {
    local i
    for ((i = 0; i < $1; i++)); do
        "$bin/crash_load" "$run/envd.sock" "s$i" 3600 "${receivers[@]}" >"$work/accepted.$i" 2>>"$work/load.log" &
        loads+=($!)
        helpers+=($!)
    done
}
accepted_now() { cat "$work"/accepted.[0-9]* | wc -l; }
more_accepted() { [ "$(accepted_now)" -ge "$1" ]; } # than a number read before

# An environment that failed too often waits long for its restart: the operator helps.
revive() {
    local env
    at_receivers
    for env in "${receivers[@]}"; do
        case $(state_of "$env") in
        failed | stopped | defined) envctl start "$env" 2>/dev/null || true ;;
        esac
    done
}

end_loads() {
    local pid
    kill -TERM "${loads[@]}"
    for pid in "${loads[@]}"; do
        wait "$pid" || fail "the load ended badly: $(tail -n 3 "$work/load.log")"
    done
    cat "$work"/accepted.[0-9]* >"$work/accepted"
    ok "$(wc -l <"$work/accepted") messages were accepted"
}

notes() {
    at_ledger
    envctl logs acme/ledger | grep "^note " >"$work/ledger" || true
}
missing() { awk 'FNR == NR {noted[$4] = 1; next} !($2 in noted)' "$work/ledger" "$work/accepted"; }
all_noted() {
    revive
    notes
    [ -z "$(missing | head -n 1)" ]
}

# As long as something moves.
wait_for_notes() {
    local n m before
    for ((n = 0; n < 6; n++)); do
        notes
        before=$(wc -l <"$work/ledger")
        for ((m = 0; m < 100; m++)); do
            ! all_noted || return 0
            sleep 0.2
        done
        [ "$(wc -l <"$work/ledger")" != "$before" ] || return 0
    done
}

check_load() {
    local lost twice again bound=$(($1 * 16)) # a receiver's window
    wait_for_notes
    lost=$(missing)
    [ -z "$lost" ] || fail "accepted and never delivered: $(wc -l <<<"$lost"): $(head -n 5 <<<"$lost")"
    ok "each of them arrived"
    sleep 1 # what would come twice, comes
    notes
    twice=$(awk '{print $2}' "$work/ledger" | sort | uniq -d)
    [ -z "$twice" ] || fail "the ledger, which never died, was given twice: $(head -n 5 <<<"$twice")"
    ok "nothing was delivered twice to the environment that was never killed"
    again=$(awk '{print $4}' "$work/ledger" | sort | uniq -d | wc -l)
    [ "$again" -le "$bound" ] || fail "$again messages came twice to receivers that died holding $bound at most"
    ok "$again messages came again to receivers that died with them in hand"
    # The first time that each message was noted, per stream and receiver, is in the order of sending.
    awk '!seen[$4]++ {key = $3 " " $5; if (key in last && $6 + 0 < last[key]) {print key, last[key], "before", $6; bad = 1} last[key] = $6 + 0}
        END {exit bad}' "$work/ledger" >"$work/order.txt" || fail "out of order: $(head -n 5 "$work/order.txt")"
    ok "in the order in which they were sent, per sender and receiver"
}
