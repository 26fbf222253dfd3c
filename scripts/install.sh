#!/bin/sh
# Install what the farm needs on this machine: system packages, id ranges for clean builds, the Python
# environment in .venv. Done again, it changes nothing and asks nothing.
#
#     scripts/install.sh            for running the farm
#     scripts/install.sh --tests    for its tests as well
#     scripts/install.sh --check    say what is missing (exit status 1), change nothing
#     scripts/install.sh --for=USER for a farm that USER runs (a service's own user)
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
cd -- "$root"
. scripts/install-lib.sh

with_tests=no
check_only=no
farm_user=$(id -un)
for argument; do
    case $argument in
        --tests) with_tests=yes ;;
        --check) check_only=yes ;;
        --for=?*) farm_user=${argument#--for=} ;;
        *) fail "unknown argument: $argument" "usage: scripts/install.sh [--tests] [--check] [--for=USER]" ;;
    esac
done

id -u -- "$farm_user" >/dev/null 2>&1 || fail "there is no user $farm_user" "make it first (useradd --system)"

# Two of these in one checkout take turns: the script itself is the lock.
if command -v flock >/dev/null; then
    exec 9<scripts/install.sh
    flock -n 9 || { say "waiting for another installation in this directory"; flock 9; }
fi

step 1 "system packages"
install_system_packages
step 2 "id ranges for clean builds (user $farm_user)"
give_id_ranges
step 3 "Python 3.11 or newer"
find_python >/dev/null || install_python
python=$(find_python) || python=
note "${python:-none}${python:+, $("$python" -V)}"
step 4 "the Python environment, .venv"
[ -z "$python" ] || make_environment "$python"
finish
