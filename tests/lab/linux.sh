# Shared by the stories that boot Linux guests with cellrun, in a lab host: initrds, boots, what they printed, the count of
# what passed. Sourced, with $here set; sets $work, which is removed at the end.
kit=/kit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# initrd NAME [flavour] <<<SCRIPT: an initrd $work/NAME whose PID 1 runs the script when the modules are loaded
initrd() {
    cat >"$work/$1.sh"
    "$here/guest-initrd" -k "${2:-cloud}" -i "$work/$1.sh" "$work/$1"
}
# boot OPTIONS…: sets out (log and cellrun's words), rc; says what it took. Gives it 150 s, or what patience says.
boot() {
    local start=${EPOCHREALTIME/./}
    out=$(timeout "${patience:-150}" "$ENVD_BUILD/bin/cellrun" -v --linux --memory 128 "$@" 2>&1)
    rc=$?
    echo "figure: $(((${EPOCHREALTIME/./} - start) / 100000)) tenths of a second"
}
pass() { passed=$((passed + 1)); echo "ok: $1"; }
fail() { # WHAT: with all of out
    failed=$((failed + 1))
    printf 'FAIL: %s (rc %s):\n%s\n' "$1" "$rc" "$out"
}
check() { # WHAT PATTERN…: each is in out
    local what=$1 pattern
    shift
    for pattern in "$@"; do
        grep -qE -- "$pattern" <<<"$out" && continue
        fail "$what: no \"$pattern\""
        return
    done
    pass "$what"
}
# The end of a story: its counts, its exit status.
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

# For a guest's script: "above the hole: N pages".
above_the_hole='echo "above the hole: $(awk "/zone +Normal/ { high = 1 } high && /present/ { print \$2; exit }" /proc/zoneinfo) pages"'

# For a guest's script: what its kernel has to complain of, "errors: N" and a "complaint:" line each.
complaints='echo "errors: $(dmesg -r | grep -cE "^<[0-3]>")"
dmesg -r | grep -E "^<[0-3]>|virtio.*(fail|error|invalid)|ACPI (Error|Warning|BIOS)|clocksource.*unstable|Marking clocksource" |
    sed "s/^/complaint: /"'
check_no_complaints() { # WHAT
    if grep -q '^errors: 0' <<<"$out" && ! grep -q '^complaint' <<<"$out"; then
        pass "$1"
    else
        fail "$1"
    fi
}
