# Shared by the recipes: finding what was built, unpacking a kernel package, ending. Sourced.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
build=${ENVD_BUILD:-$source_dir/build/release}
flavour=cloud-amd64 kernel= modules= name= output=

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# The head comment of the recipe is its manual.
usage() { sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0" | sed '$d'; }

# Takes the options that both recipes have; the others stay in $rest.
take_options() {
    rest=()
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h) usage; exit 0 ;;
        --flavour | --kernel | --modules | --name | --output | --build)
            [ $# -ge 2 ] || die "$1 needs a value"
            printf -v "${1#--}" %s "$2"
            shift ;;
        *) rest+=("$1") ;;
        esac
        shift
    done
}

# The programs for guests are static; those of a sanitized build are too.
need_programs() {
    guest=$build/guest
    envctl=$build/bin/envctl
    [ -x "$guest/envagent" ] || die "there is no $guest/envagent: build it first (cmake --build), or say where: --build FOLDER"
    [ -x "$envctl" ] || die "there is no $envctl"
}

make_work() {
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/envd-image.XXXXXX")
    trap 'rm -rf "$work"' EXIT
}

# unpack_kernel: Debian's newest kernel package of $flavour, unpacked: sets $kernel and $modules (…/lib/modules/VERSION).
# Uses the system's package sources; needs no root.
unpack_kernel() {
    local package
    package=$(apt-cache depends "linux-image-$flavour" | awk '/Depends: linux-image-/ { print $2; exit }')
    [ -n "$package" ] || die "no package linux-image-$flavour is known: run apt-get update"
    mkdir -p "$work/kernel"
    (cd "$work/kernel" && apt-get download -qq -o APT::Sandbox::User=root "$package" >/dev/null && dpkg -x ./*.deb . && rm -f ./*.deb)
    kernel=$(ls "$work"/kernel/boot/vmlinuz-*)
    modules=$(ls -d "$work"/kernel/lib/modules/*)
    depmod -b "$work/kernel" "$(basename "$modules")"
}

# store ARGUMENTS: what envctl image build is to make, stored on the server or written to $output.
store() {
    if [ -n "$output" ]; then
        set -- "$@" --output "$output"
    else
        set -- "$@" --name "$name"
    fi
    "$envctl" image build "$@"
}
