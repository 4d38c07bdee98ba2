# Shared by run, exec and down: where the lab keeps things. Sourced.
lab_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
lab_cache=${ENVD_LAB_CACHE:-$lab_here/../../build/lab}
lab_state=${ENVD_LAB_STATE:-${TMPDIR:-/tmp}/envd-lab-$(id -u)}
lab_modules="kvm-amd tun bridge veth vxlan nf_tables nft_chain_nat nft_ct nft_limit nft_reject_inet nft_meta_bridge
    nft_reject_bridge nf_conntrack_bridge sch_tbf sch_htb loop overlay"
lab_die() { echo "lab: $*" >&2; exit 2; }
