# The steps of scripts/install.sh, one function each; it is sourced from there, in the checkout's root.
# Lists of package names are split into words on purpose.
# shellcheck shell=sh disable=SC2046,SC2086,SC2116,SC2154

STEPS=4
LISTS_MAX_AGE_DAYS=1
LOCK_TIMEOUT_S=600
RANGE_LENGTH=65536

started_s=$(date +%s)
missing=no
if [ -t 0 ]; then terminal=yes; else terminal=no; fi

say() { printf '%s\n' "$*"; }
note() { printf '       %s\n' "$*"; }

step() {
    printf '[%d/%d] %s\n' "$1" "$STEPS" "$2"
}

fail() { # WHAT HAPPENED, WHAT TO DO
    printf 'install: %s\n         %s\n' "$1" "$2" >&2
    exit 1
}

timed() { # WHAT, COMMAND...: runs it, then says how long it took
    what=$1
    shift
    note "$what ..."
    begun_s=$(date +%s)
    "$@" || return $?
    note "done in $(($(date +%s) - begun_s)) s"
}

# Under --check a missing thing is named and left: true then.
only_checking() { # WHAT IS MISSING
    if [ "$check_only" = yes ]; then
        note "missing: $1"
        missing=yes
    else
        return 1
    fi
}

finish() {
    if [ "$missing" = yes ]; then
        say "something is missing: run scripts/install.sh without --check"
        exit 1
    fi
    say "installed, in $(($(date +%s) - started_s)) s"
}

# Before the first thing that needs root: nothing may ask for a password later, in the middle of something.
root_is_at_hand=no
want_root() { # WHAT FOR
    if [ "$(id -u)" -eq 0 ] || [ "$root_is_at_hand" = yes ]; then return; fi
    command -v sudo >/dev/null || fail "$1 needs root, and sudo is not there" "run this script as root once"
    if ! sudo -n true 2>/dev/null; then
        [ "$terminal" = yes ] || fail "$1 needs root, and sudo wants a password" "run this script in a terminal once"
        note "$1 needs root"
        sudo -v || fail "$1 needs root, and sudo refused" "run this script as root once"
    fi
    root_is_at_hand=yes
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# --- 1. system packages

install_system_packages() {
    absent=$(not_installed $(list_packages required))
    optional=$(not_installed $(list_packages optional))
    if [ -z "$absent$optional" ]; then
        note "all there"
        return
    fi
    if [ "$check_only" = no ] && { ! lists_exist || { [ -n "$absent" ] && ! lists_are_fresh; }; }; then
        refresh_lists_once
    fi
    for package in $optional; do
        if has_candidate "$package"; then
            absent="$absent $package"
        else
            note "$package: this release of the distribution has none; going on without"
        fi
    done
    absent=$(echo $absent)
    if [ -z "$absent" ]; then
        note "all others there"
        return
    fi
    only_checking "$absent" && return
    timed "installing $absent" apt_get_install $absent && return
    refresh_lists_once
    timed "installing $absent, second attempt" apt_get_install $absent ||
        fail "apt-get could not install: $absent" "mend what apt says above (on Ubuntu, universe must be enabled)"
}

list_packages() { # required|optional
    architecture=$(dpkg --print-architecture)
    while read -r name marks; do
        case $name in '' | '#'*) continue ;; esac
        case " $marks " in *" tests "*) [ "$with_tests" = yes ] || continue ;; esac
        case " $marks " in *" on:$architecture "*) ;; *" on:"*) continue ;; esac
        case " $marks " in *" optional "*) kind=optional ;; *) kind=required ;; esac
        if [ "$kind" = "$1" ]; then printf '%s\n' "$name"; fi
    done <scripts/system-packages.txt
}

not_installed() {
    for package; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=absent
        [ "$status" = installed ] || printf '%s\n' "$package"
    done
}

has_candidate() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -q '^ *Candidate: [^(]'
}

lists_exist() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null | head -n 1)" ]
}

lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*Release' -mtime "-$LISTS_MAX_AGE_DAYS" 2>/dev/null | head -n 1)" ]
}

lists_refreshed=no
refresh_lists_once() {
    [ "$lists_refreshed$check_only" = nono ] || return 0
    lists_refreshed=yes
    timed "apt-get update" apt_get update || fail "apt-get update failed" "mend what apt says above"
}

apt_get_install() {
    apt_get install --yes --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
}

# Somebody else's apt (unattended-upgrades, on a machine just booted) is waited for: apt itself waits for
# dpkg's lock; the lock of the lists it does not wait for, so that one is tried again here.
apt_get() {
    want_root "apt-get $1"
    apt_log=$(mktemp)
    give_up_s=$(($(date +%s) + LOCK_TIMEOUT_S))
    while ! as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C.UTF-8 \
        apt-get -q -o "DPkg::Lock::Timeout=$LOCK_TIMEOUT_S" -o APT::Color=0 "$@" </dev/null >"$apt_log" 2>&1; do
        if ! grep -q 'Could not get lock' "$apt_log" || [ "$(date +%s)" -ge "$give_up_s" ]; then
            tail -n 25 "$apt_log" >&2
            rm -f "$apt_log"
            return 1
        fi
        note "apt is busy with something else; trying again"
        sleep 5
    done
    rm -f "$apt_log"
}

# --- 2. id ranges: who builds in a user namespace needs 65536 ids of its own (subuid(5)); root has none by itself

give_id_ranges() {
    first=$(cat /etc/subuid /etc/subgid 2>/dev/null | awk -f scripts/next-subid.awk)
    last=$((first + RANGE_LENGTH - 1))
    give_id_range /etc/subuid --add-subuids
    give_id_range /etc/subgid --add-subgids
    [ "$farm_user" = "$(id -un)" ] || return 0
    if ! unshare --user --map-root-user true 2>/dev/null; then
        note "warning: user namespaces are refused to $farm_user here, and clean builds need them"
        note "see: sysctl kernel.unprivileged_userns_clone kernel.apparmor_restrict_unprivileged_userns"
    fi
}

give_id_range() { # FILE, USERMOD'S OPTION
    if has_id_range "$1"; then
        note "$1: there"
        return
    fi
    only_checking "a range in $1" && return
    want_root "a range in $1"
    # usermod knows only the users of /etc/passwd; for one of a directory service the line is added here.
    as_root usermod "$2" "$first-$last" "$farm_user" 2>/dev/null ||
        echo "$farm_user:$first:$RANGE_LENGTH" | as_root tee -a "$1" >/dev/null
    has_id_range "$1" || fail "could not give $farm_user a range in $1" "add the line $farm_user:$first:$RANGE_LENGTH to it"
    note "$1: $first to $last"
}

has_id_range() { # FILE
    awk -F: -v name="$farm_user" -v number="$(id -u -- "$farm_user")" -v length_wanted="$RANGE_LENGTH" \
        '($1 == name || $1 == number) && $3 >= length_wanted { found = 1 } END { exit !found }' "$1" 2>/dev/null
}

# --- 3. Python

PYTHON_IS_NEW_ENOUGH='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c "$PYTHON_IS_NEW_ENOUGH" 2>/dev/null && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# Ubuntu 22.04: the system's Python is 3.10, and 3.11 stands beside it in universe.
install_python() {
    only_checking "python3.11-venv" && return
    has_candidate python3.11-venv || refresh_lists_once
    timed "installing python3.11-venv" apt_get_install python3.11 python3.11-venv ||
        fail "no Python 3.11 or newer, and apt has none" "install one with its venv module, and put it in PATH"
}

# --- 4. the Python environment: a stamp in it says what it was made from

make_environment() { # PYTHON
    stamp=.venv/installed-from
    current=$(environment_key "$1")
    if [ -x .venv/bin/buildfarm ] && [ "$(cat "$stamp" 2>/dev/null)" = "$current" ]; then
        note "current"
        return
    fi
    only_checking ".venv, or what requirements.lock has for it" && return
    rm -f "$stamp"
    if ! .venv/bin/python -c "$PYTHON_IS_NEW_ENOUGH; import pip" 2>/dev/null; then
        timed "making .venv" "$1" -m venv --clear .venv
    fi
    timed "installing what requirements.lock names" pip_install --require-hashes -r requirements.lock ||
        fail "pip could not install requirements.lock" "mend what pip says above; nothing else was changed"
    timed "installing buildfarm itself, editable" pip_install --no-deps --no-build-isolation -e . ||
        fail "pip could not install the project" "mend what pip says above"
    # man finds them beside a bin/ that is in PATH
    timed "writing the manual pages of the PPA tools" .venv/bin/ppa manpage --directory .venv/share/man/man1 ||
        fail "the manual pages could not be written" "mend what is said above"
    printf '%s\n' "$current" >"$stamp"
}

pip_install() {
    .venv/bin/python -m pip install -qq --no-input --disable-pip-version-check --no-warn-script-location "$@"
}

environment_key() { # PYTHON
    { cat requirements.lock pyproject.toml; echo "$root $1"; "$1" -V; } | sha256sum | cut -d ' ' -f 1
}
