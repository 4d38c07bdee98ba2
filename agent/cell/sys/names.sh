#!/bin/sh
# Writes the table of system call names, [number] = "name", from the kernel's headers. Called by the build.
set -eu
compiler=$1
out=$2
mkdir -p "$(dirname "$out")"
printf '#include <asm/unistd_64.h>\n' | "$compiler" -E -dM - |
    awk '$1 == "#define" && $2 ~ /^__NR_/ { print "[" $3 "] = \"" substr($2, 6) "\"," }' | sort >"$out"
[ -s "$out" ]
