# Sourced after lib.sh by stories of several envd hosts: each in a network namespace of its own, one RabbitMQ, or a cluster of
# three nodes, that all reach.
#
#   make_host NAME NUMBER         its network and folders
#   start_mq [deploy/broker's]    RabbitMQ; sets $port, node 1's
#   start_host NAME [options]     its envpriv and envd; over TLS, with its certificate instead of a password, if RabbitMQ has it
#   start_link NAME               its envd alone, again, with the same options
#   use NAME                      what follows (envctl, api, metric, stop_envd, …) is about that host
#   linked                        that host's link to the broker is up, and has all that it wants
#   stop_hosts                    envd and envpriv of all, orderly
command -v nsenter >/dev/null || skip "needs nsenter"
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || skip "needs rabbitmq-server"
broker() { "$source_dir/deploy/broker" "$@"; }
mq=$work/mq mq_address=10.99.0.1
declare -A network number options_of envd_of envpriv_of

# A process holds the network; a cable leads to the broker.
make_host() {
    local name=$1 n=$2
    unshare --net sleep infinity &
    network[$name]=$! number[$name]=$n
    helpers+=($!)
    wait_for "the network of $name" sh -c "! [ /proc/$!/ns/net -ef /proc/self/ns/net ]"
    ip link add "to-$name" type veth peer name uplink netns "${network[$name]}"
    ip addr add "10.99.$n.1/24" dev "to-$name"
    ip link set "to-$name" up
    nsenter -t "${network[$name]}" -n sh -c \
        "ip link set lo up && ip addr add 10.99.$n.2/24 dev uplink && ip link set uplink up && ip route add $mq_address via 10.99.$n.1"
    mkdir -p "$work/$name/run" "$work/$name/state"
    chmod 711 "$work/$name"
    chown "$story_uid:$story_uid" "$work/$name/run" "$work/$name/state"
}

use() {
    host=$1-
    run=$work/$1/run state=$work/$1/state
    inside=(nsenter -t "${network[$1]}" -n --)
    envd_pid=${envd_of[$1]:-} envpriv_pid=${envpriv_of[$1]:-}
    export ENVCTL_SOCKET=$run/envd.sock
}

start_host() {
    use "$1"
    options_of[$1]="--host-name $1 $(broker_options "$1") ${*:2}"
    start_envpriv
    envpriv_of[$1]=$envpriv_pid
    start_link "$1"
}

start_link() {
    use "$1"
    # shellcheck disable=SC2086 # words
    start_envd ${options_of[$1]}
    envd_of[$1]=$envd_pid
}

# Each host's own node comes first: host 1's is node 1.
broker_options() {
    local name=$1 nodes n i list='' kind=port
    nodes=$(cat "$mq/nodes" 2>/dev/null || echo 1)
    if [ -e "$mq/with-tls" ]; then kind=tls-port; fi
    for ((i = 0; i < nodes; i++)); do
        n=$(((number[$name] - 1 + i) % nodes + 1))
        list+=,$mq_address:$(cat "$mq/node$n/$kind")
    done
    if [ $kind = port ]; then
        echo "--broker amqp://${list#,} --broker-password-file $mq/users/envd.$name.password"
        return
    fi
    install -m 644 "$mq/tls/ca.pem" "$mq/tls/envd.$name.pem" "$work/$name" # envd reads them when it connects, as its user
    install -m 600 -o "$story_uid" "$mq/tls/envd.$name.key" "$work/$name"
    echo "--broker amqps://${list#,} --broker-ca $work/$name/ca.pem --broker-cert $work/$name/envd.$name.pem" \
        "--broker-key $work/$name/envd.$name.key"
}

start_mq() {
    ip addr add "$mq_address/32" dev lo
    broker start "$mq" --address "$mq_address" "$@" >"$work/broker.log" 2>&1 || fail "RabbitMQ does not start"
    port=$(cat "$mq/node1/port")
}

stop_hosts() {
    local name
    for name in "${!network[@]}"; do
        use "$name"
        stop_envd
        envd_of[$name]=
        stop_envpriv
        envpriv_of[$name]=
    done
}

metric() { curl -s --unix-socket "$run/envd.sock" http://envd/metrics | sed -n "s/^$1 //p"; }
linked() { [ "$(metric 'envd_broker_state{envd_broker_state="ready"}')" = 1 ] && [ "$(metric envd_broker_wanted_missing)" = 0 ]; }
# What failed may be the broker's to explain: its queues are among the logs then.
story_end() {
    if [ "${rc:-0}" != 0 ] && [ "$rc" != 77 ] && [ -d "$mq" ]; then
        timeout 30 "$source_dir/deploy/broker" ctl "$mq" list_queues name messages online >"$work/queues.log" 2>&1
    fi
    if [ -d "$mq" ]; then broker stop "$mq" >>"$work/broker.log" 2>&1; fi
    # shellcheck disable=SC2206 # pids, or nothing
    helpers+=(${envd_of[*]} ${envpriv_of[*]})
}
