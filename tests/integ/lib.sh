# Sourced by the stories of the daemon: real envpriv, envd, envvm and KVM, in network and mount namespaces and folders of the
# story's own, so that stories run side by side. What a story starts it ends, and the end checks that nothing is left.
#
#   . "$(dirname "$0")/lib.sh"     enters the namespace (the script is executed again), makes $work; skips without root/KVM
#   start_envpriv [options]        and waits for its socket
#   start_envd [options]           and waits until it is ready; runs as uid $story_uid
#   stop_envd, stop_envpriv        orderly; they fail the story when the process does not end well
#   envctl ARGS...                 against this story's envd
#   api METHOD PATH [curl options] body in $body, status in $status
#   ok WHAT                        counts and prints a passed step
#   fail WHAT                      ends the story: prints the logs, and the end of each guest's
#   expect WHAT WANTED GOT         the two texts are equal
#   expect_in WHAT PART TEXT       PART occurs in TEXT
#   wait_for WHAT COMMAND...       until the command succeeds, $patience seconds at most: 60, enough for what takes one on a
#                                  machine that others keep busy; what takes longer by itself says so (patience=120 wait_for ...)
#   state_of TENANT/NAME           the environment's state; reason_of its reason's code
# A story may define story_end, which is called first when it ends, however it does.
# $bin, $guest: the build's programs. $run, $state: the folders. $envd_pid, $envpriv_pid.
# What a pipe's end does not read ends the command before it, which counts: look with grep -q X <<<"$(envctl logs ...)".
set -euo pipefail
exec 8>&2 # what a failure says is heard whatever its command's output is
build=${ENVD_BUILD:?set ENVD_BUILD to a build folder}
source_dir=${ENVD_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
bin=$build/bin
guest=$build/guest
story=$(basename "$0")
story_uid=64177

skip() {
    echo "SKIPPED $story: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "needs root: envpriv makes taps, cgroups and namespaces"
[ -c /dev/kvm ] || skip "there is no /dev/kvm here"
for tool in ip curl jq unshare; do
    command -v $tool >/dev/null || skip "needs $tool"
done
# envvm runs in an empty root and must be static, which a sanitized build's is not: such a build borrows the release's.
envvm=$bin/envvm
if grep -q /ld-linux "$envvm"; then # names the loader that it needs
    envvm=$build/../release/bin/envvm
    [ -x "$envvm" ] || skip "$bin/envvm is not static, and there is no release build beside it"
fi
if [ "${ENVD_STORY_NETNS:-}" != "$story" ]; then
    ENVD_STORY_NETNS=$story exec unshare --net --mount -- "$0" "$@"
fi
ip link set lo up

work=$(mktemp -d "${TMPDIR:-/tmp}/envd-$story.XXXXXX")
run=$work/run
state=$work/state
mkdir "$run" "$state"
chmod 711 "$work"
chown "$story_uid:$story_uid" "$run" "$state"
# The program files may lie where an unprivileged daemon cannot reach; envd opens the kernel before it gives up root.
export ENVCTL_SOCKET=$run/envd.sock NO_COLOR=1
envd_pid= envpriv_pid= helpers=() mounts=() # helpers: pids, mounts: folders, that the end is to end
inside=() host=                             # of stories with several hosts: how to enter one's network, and its name
steps=0

ok() {
    steps=$((steps + 1))
    printf 'ok %s\n' "$*"
}

fail() {
    printf 'FAILED %s\n' "$*" >&8
    exit 1
}

print_logs() {
    local f
    for f in "$work"/*.log; do
        [ -s "$f" ] || continue
        printf -- '--- %s:\n' "$(basename "$f")" >&2
        tail -n 60 "$f" >&2
    done
}

# What the guests said last, as far as envd can still be asked.
print_guest_logs() {
    local env
    ! alive "$envd_pid" || for env in $(curl -s -m 20 --unix-socket "$run/envd.sock" http://envd/v1/environments |
        jq -r '.items[]? | .tenant + "/" + .name'); do
        printf -- '--- log of %s (%s):\n' "$env" "$(state_of "$env")" >&2
        timeout 20 "$bin/envctl" logs "$env" --tail 500 | tr -d '\0' >&2
    done
}

# QEMU's emulation of SVM, and no processor, delivers an interrupt that a hypervisor injects twice when another thread kicks
# the emulated CPU in that moment: the second time with interrupts off, at the first instruction of the interrupt's own
# handler, where Linux is not ready for one. Its lost wake-ups are thought to be why a guest now and then stands still as a
# whole for a minute or more, which its own watchdog notes. True when a guest of this story has died of such an entry, or
# without a word, or stood still so.
died_of_emulation() {
    grep -q '^model name.*QEMU TCG' /proc/cpuinfo || return 1
    grep -qE -- '-> failed \([a-z-]*\): triple-fault: ' "$work/envd.log" ||
        grep -qE 'RIP: 0010:asm_[a-z_]*interrupt\+0x0/|watchdog: BUG: soft lockup - CPU#[0-9]+ stuck for ([6-9][0-9]|[0-9]{3,})s' "$work/guests"
}

expect() {
    [ "$2" = "$3" ] || fail "$1: wanted \"$2\", got \"$3\""
    ok "$1"
}

expect_in() {
    case "$3" in
    *"$2"*) ok "$1" ;;
    *) fail "$1: no \"$2\" in: $3" ;;
    esac
}

patience=60
wait_for() {
    local what=$1 since=$SECONDS
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((SECONDS - since)) -lt "$patience" ] || fail "$what did not come about within $patience s"
        sleep 0.05
    done
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

start_envpriv() {
    "${inside[@]}" "$bin/envpriv" --run "$run" --envvm "$envvm" --user "$story_uid" "$@" >>"$work/${host}envpriv.log" 2>&1 &
    envpriv_pid=$!
    wait_for "envpriv's socket" test -S "$run/priv.sock"
}

# Without waiting: for stories about a start that fails.
launch_envd() {
    "${inside[@]}" "$bin/envd" --state "$state" --run "$run" --user "$story_uid" --cell-kernel "$guest/cell-kernel.elf" "$@" \
        >>"$work/${host}envd.log" 2>&1 &
    envd_pid=$!
}

envd_ready() {
    alive "$envd_pid" || fail "envd ended before it was ready"
    curl -sf --unix-socket "$run/envd.sock" http://envd/readyz
}

start_envd() {
    launch_envd "$@"
    wait_for "envd's readiness" envd_ready
}

# end NAME PID: SIGTERM, and the process must end with 0 in time.
process_gone() { ! alive "$1"; }
end() {
    local name=$1 pid=$2 rc=0
    kill -TERM "$pid" 2>/dev/null || fail "$name was gone already"
    wait_for "the end of $name at SIGTERM" process_gone "$pid"
    wait "$pid" || rc=$?
    [ $rc = 0 ] || fail "$name ended with $rc"
}

stop_envd() {
    end envd "$envd_pid"
    envd_pid=
}

stop_envpriv() {
    end envpriv "$envpriv_pid"
    envpriv_pid=
}

envctl() { "$bin/envctl" "$@"; }

api() {
    local method=$1 path=$2
    shift 2
    body=$(curl -s --unix-socket "$run/envd.sock" -X "$method" -w '\n%{http_code}' "$@" "http://envd$path") || true
    status=${body##*$'\n'}
    body=${body%$'\n'*}
}

state_of() {
    curl -s --unix-socket "$run/envd.sock" "http://envd/v1/tenants/${1%%/*}/environments/${1#*/}" | jq -r .status.state
}
reason_of() {
    curl -s --unix-socket "$run/envd.sock" "http://envd/v1/tenants/${1%%/*}/environments/${1#*/}" | jq -r .status.reason.code
}
in_state() { [ "$(state_of "$1")" = "$2" ]; }
pid_of() {
    curl -s --unix-socket "$run/envd.sock" "http://envd/v1/tenants/${1%%/*}/environments/${1#*/}" | jq -r .status.pid
}

# What is left of this story, one line each: processes of its folder, links of its namespace, cgroups, mounts.
leftovers() {
    local instance pid
    for pid in $(jobs -p); do
        kill -0 "$pid" 2>/dev/null && echo "process $pid: $(tr '\0' ' ' </proc/"$pid"/cmdline 2>/dev/null)"
    done
    ip -o link show 2>/dev/null | awk -F': ' '$2 ~ /^ev/ {print "link " $2}'
    for instance in ${story_instance:-}; do
        find /sys/fs/cgroup -maxdepth 3 -name "envd-$instance" 2>/dev/null | sed 's/^/cgroup /'
    done
    awk -v w="$work" 'index($5, w) == 1 {print "mount " $5}' /proc/self/mountinfo
    return 0
}

learn_instance() {
    story_instance=$(sed -n 's/.*connected to envpriv (instance \([a-z0-9]*\),.*/\1/p' "$work"/*envd.log 2>/dev/null | sort -u)
}

finish() {
    local rc=$? left pid
    exec 2>&8
    trap - EXIT INT TERM
    set +e
    if declare -F story_end >/dev/null; then story_end; fi
    learn_instance
    if [ $rc -ne 0 ] && [ $rc -ne 77 ]; then
        print_logs
        print_guest_logs 2>&1 | tee "$work/guests" >&2
        if died_of_emulation; then
            echo "a guest died of a triple fault, or of an interrupt in an interrupt's entry: likely the emulation's doing" >&2
            rc=123 # tests/lab/retry knows it
        fi
    fi
    for pid in "${helpers[@]}" $envd_pid $envpriv_pid; do
        alive "$pid" && kill -TERM "$pid"
    done
    for pid in "${helpers[@]}" $envd_pid $envpriv_pid; do
        for ((n = 0; n < 200; n++)); do alive "$pid" || break; sleep 0.05; done
        alive "$pid" && kill -KILL "$pid"
        wait "$pid" 2>/dev/null
    done
    for folder in "${mounts[@]}"; do umount "$folder"; done
    left=$(leftovers)
    if [ -n "$left" ]; then
        printf 'FAILED %s left behind:\n%s\n' "$story" "$left" >&2
        [ $rc -ne 0 ] || { print_logs; rc=1; }
    fi
    rm -rf "$work"
    [ $rc -ne 0 ] || printf 'passed: %s, %d steps\n' "$story" "$steps"
    exit $rc
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
