# Sourced after lib.sh by stories of several envd hosts: each in a network namespace of its own, one RabbitMQ that all reach.
#
#   make_host NAME NUMBER         its network and folders
#   start_mq [deploy/broker's]    RabbitMQ; sets $port
#   start_host NAME               its envpriv and envd
#   use NAME                      what follows (envctl, api, metric, stop_envd, …) is about that host
#   linked                        that host's link to the broker is up, and has all that it wants
command -v nsenter >/dev/null || skip "needs nsenter"
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || skip "needs rabbitmq-server"
broker() { "$source_dir/deploy/broker" "$@"; }
mq=$work/mq mq_address=10.99.0.1
declare -A network envd_of envpriv_of

# A process holds the network; a cable leads to the broker.
make_host() {
    local name=$1 n=$2
    unshare --net sleep infinity &
    network[$name]=$!
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
    start_envpriv
    envpriv_of[$1]=$envpriv_pid
    helpers+=("$envpriv_pid")
    start_envd --host-name "$1" --broker "amqp://$mq_address:$port" --broker-password-file "$mq/users/envd.$1.password"
    envd_of[$1]=$envd_pid
    helpers+=("$envd_pid")
}

start_mq() {
    ip addr add "$mq_address/32" dev lo
    broker start "$mq" --address "$mq_address" "$@" >"$work/broker.log" 2>&1 || fail "RabbitMQ does not start"
    port=$(cat "$mq/node1/port")
}

metric() { curl -s --unix-socket "$run/envd.sock" http://envd/metrics | sed -n "s/^$1 //p"; }
linked() { [ "$(metric 'envd_broker_state{envd_broker_state="ready"}')" = 1 ] && [ "$(metric envd_broker_wanted_missing)" = 0 ]; }
story_end() { if [ -d "$mq" ]; then broker stop "$mq" >>"$work/broker.log" 2>&1; fi; }
