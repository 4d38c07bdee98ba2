# Typing on a console through the real envctl and a terminal, for stories of lib.sh. Sourced.
#   on_terminal COMMAND            starts it on a terminal; what it shows is in $work/typescript
#   typed PATTERN TEXT             types the text, and again, until the pattern shows
#   left_terminal                  ctrl-], and the command's end: its exit status
on_terminal() {
    rm -f "$work/keys"
    mkfifo "$work/keys"
    TERM=vt100 timeout 200 script -qfec "$1" "$work/typescript" <"$work/keys" >/dev/null 2>&1 &
    terminal=$!
    helpers+=("$terminal")
    exec 7>"$work/keys"
}
typed() {
    local n
    for ((n = 0; n < 30; n++)); do
        ! grep -qsE -- "$1" "$work/typescript" || return 0
        printf '%s\r' "$2" >&7
        sleep 4
    done
    fail "the console shows no \"$1\": $(tail -n 20 "$work/typescript")"
}
left_terminal() {
    local rc=0
    printf '\x1d' >&7
    wait "$terminal" || rc=$?
    exec 7>&-
    return $rc
}
