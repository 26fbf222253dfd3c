#!/bin/sh
# Fetch a package's source from the distribution and unpack it, its patches not applied, as DIRECTORY/PACKAGE:
#     scripts/fetch-source.sh PACKAGE DIRECTORY
# The machine's own apt configuration says where from and is not changed: deb-src lines are made of it in a
# directory of this script's own. Runs as anybody.
set -eu

[ $# -eq 2 ] || { echo "usage: scripts/fetch-source.sh PACKAGE DIRECTORY" >&2; exit 2; }
package=$1
mkdir -p -- "$2"
target=$(cd -- "$2" && pwd -P)/$package
[ ! -e "$target" ] || { echo "$target is there already"; exit 0; }

own=$(mktemp -d)
trap 'rm -rf -- "$own"' EXIT
mkdir -p "$own/lists/partial" "$own/cache/archives/partial" "$own/sources.d" "$own/work"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$file" ] || sed -nE 's/^deb(-src)? /deb-src /p' "$file"
done >"$own/sources.list"
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || sed -E 's/^Types:.*/Types: deb-src/' "$file" >"$own/sources.d/${file##*/}"
done

apt_get() {
    apt-get -qq -o "Dir::State::lists=$own/lists" -o "Dir::Cache=$own/cache" -o APT::Sandbox::User= \
        -o "Dir::Etc::sourcelist=$own/sources.list" -o "Dir::Etc::sourceparts=$own/sources.d" "$@"
}

apt_get update
cd "$own/work"
apt_get source --download-only "$package" >/dev/null
if grep -q '^Format: 3.0 (quilt)' ./*.dsc; then skip=--skip-patches; else skip=; fi
dpkg-source --no-check $skip --extract ./*.dsc unpacked >/dev/null
mv unpacked "$target"
echo "$package $(dpkg-parsechangelog -l "$target/debian/changelog" -S Version) in $target"
