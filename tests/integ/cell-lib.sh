# Sourced by the cell tests: runs programs with cellrun and compares what came out. Needs root and /dev/kvm.
set -u
build=${ENVD_BUILD:?set ENVD_BUILD to a build folder}
source_dir=${ENVD_SOURCE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
guests=$build/guest/test
failures=0
tests=0

skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "needs root"
[ -c /dev/kvm ] || skip "needs /dev/kvm"

work=$(mktemp -d)
children=()
finish() {
    for pid in "${children[@]}"; do
        kill "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap finish EXIT

# cell [cellrun options] -- arguments: runs a cell; its output is in $out, its exit status in $status.
cell() {
    out=$(timeout 60 "$build/bin/cellrun" --kernel "$build/guest/cell-kernel.elf" "$@" 2>&1)
    status=$?
}

# expect NAME STATUS [line...]: the last cell ended with STATUS and each line is in its output.
expect() {
    local name=$1 wanted=$2 line bad=
    shift 2
    tests=$((tests + 1))
    [ "$status" = "$wanted" ] || bad="status $status instead of $wanted"
    for line; do
        grep -qF -- "$line" <<<"$out" || bad="$bad; no line \"$line\""
    done
    if [ -n "$bad" ]; then
        failures=$((failures + 1))
        printf 'FAILED %s: %s\n%s\n' "$name" "$bad" "$(head -c 4000 <<<"$out")"
    else
        printf 'ok %s\n' "$name"
    fi
}

# expect_count NAME N TEXT: TEXT is in exactly N lines of the output.
expect_count() {
    local n
    tests=$((tests + 1))
    n=$(grep -cF -- "$3" <<<"$out")
    if [ "$n" = "$2" ]; then
        printf 'ok %s\n' "$1"
    else
        failures=$((failures + 1))
        printf 'FAILED %s: %s lines "%s" instead of %s\n' "$1" "$n" "$3" "$2"
    fi
}

done_testing() {
    printf '%d passed, %d failed\n' $((tests - failures)) "$failures"
    [ "$failures" = 0 ]
    exit
}
