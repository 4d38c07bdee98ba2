# Bash completion for envctl: verbs and options from envctl's own help, names from the server when it answers.
# Source it, or put it into /usr/share/bash-completion/completions/envctl.

# What envctl prints, without its messages; nothing when the server is away.
_envctl_ask() {
    "${COMP_WORDS[0]}" "$@" --timeout 2 2>/dev/null
}

_envctl_environments() {
    _envctl_ask list | awk 'NR > 1 { print $1 "/" $2 }'
}

_envctl_images() {
    _envctl_ask image list --type linux | awk 'NR > 1 { print ($1 == "-" ? $5 : $1) }'
}

_envctl_tenants() {
    _envctl_ask tenant list | awk 'NR > 1 { print $1 }'
}

# The options that a verb's usage names, and those that every verb takes.
_envctl_options() {
    "${COMP_WORDS[0]}" help "$1" 2>/dev/null | grep -oE -e '--[a-z][a-z-]+'
    printf '%s\n' --format --timeout --no-wait --socket
}

# Completes the value of the option before the cursor. False when that is no option with a value.
_envctl_value() {
    case $1 in
    --program | --file | --files | --socket | --kernel | --initrd | --output | -p | -o) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    --format) mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$2") ;;
    --mailbox) mapfile -t COMPREPLY < <(compgen -W 'host queue' -- "$2") ;;
    --restart) mapfile -t COMPREPLY < <(compgen -W 'never on-failure always' -- "$2") ;;
    --kind) mapfile -t COMPREPLY < <(compgen -W "$([ "${COMP_WORDS[1]}" = create ] && echo cell linux || echo send call event)" -- "$2") ;;
    --sort) mapfile -t COMPREPLY < <(compgen -W 'cpu memory net disk messages name' -- "$2") ;;
    --limit) mapfile -t COMPREPLY < <(compgen -W 'net-packets= net-bits= disk-requests= disk-bytes=' -- "$2") ;;
    --type) mapfile -t COMPREPLY < <(compgen -W 'linux kernel initrd disk static-elf cpio-newc' -- "$2") ;;
    --kernel-from | --image | -i) mapfile -t COMPREPLY < <(compgen -W "$(_envctl_images)" -- "$2") ;;
    --size | --cmdline | --name | --max-size | --max-files | --older-than) COMPREPLY=() ;;
    --timeout | --memory | --cpu-weight | --env | --label | --selector | --tail | --grace | --since | --content-type | --header | --id | --priority | --expires | \
        --max-environments | --max-memory | --max-vcpus | --max-disk | --vcpus | --disk | --volume | --watchdog | --interval | --user | --cwd | --detach-key | -m | -e | -l | -n) COMPREPLY=() ;;
    *) return 1 ;;
    esac
}

# Completes a verb's argument.
_envctl_argument() {
    local words=
    case $1 in
    start | stop | restart | pause | resume | delete | show | logs | exec | console | send | call | explain) words=$(_envctl_environments) ;;
    cp)
        mapfile -t COMPREPLY < <(compgen -f -- "$2"; compgen -W "$(_envctl_environments | sed 's,$,:,')" -- "$2")
        return
        ;;
    create) words=$(_envctl_tenants | sed 's,$,/,') ;;
    list | top) words=$(_envctl_tenants) ;;
    help) words=$("${COMP_WORDS[0]}" help | awk '/^  [a-z]/ { print $1 }') ;;
    tenant)
        case $3 in
        tenant) words='create delete list' ;;
        delete) words=$(_envctl_tenants) ;;
        esac
        ;;
    image)
        case $3 in
        image) words='build import export list show delete gc' ;;
        show | delete | export) words=$(_envctl_images) ;;
        *) mapfile -t COMPREPLY < <(compgen -f -- "$2") && return ;;
        esac
        ;;
    mailbox)
        case $3 in
        mailbox) words='show peek purge' ;;
        *) words=$(_envctl_environments) ;;
        esac
        ;;
    dead-letter)
        case $3 in
        dead-letter) words='list show replay purge' ;;
        */*) ;; # a message's id
        *) words=$(_envctl_environments) ;;
        esac
        ;;
    policy)
        case $3 in
        policy) words='show set' ;;
        set) mapfile -t COMPREPLY < <(compgen -f -- "$2") && return ;;
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$2")
}

_envctl() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" help | awk '/^  [a-z]/ { print $1 }')" -- "$current")
        return
    fi
    _envctl_value "$previous" "$current" && return
    case $current in
    -*) mapfile -t COMPREPLY < <(compgen -W "$(_envctl_options "$verb")" -- "$current") ;;
    *) _envctl_argument "$verb" "$current" "$previous" ;;
    esac
    # A tenant's name goes on with the environment's.
    [[ ${COMPREPLY[0]-} == */ ]] && compopt -o nospace 2>/dev/null
    return 0
}

complete -o filenames -o bashdefault -F _envctl envctl 2>/dev/null || complete -F _envctl envctl
