#!/bin/sh
# Make this checkout a service of the machine: the user buildfarm, its state in /var/lib/buildfarm, systemd's units.
# Run as root; done again, it brings the units up to date and leaves all else alone. It starts nothing.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
home=/var/lib/buildfarm
units=/etc/systemd/system

[ "$(id -u)" -eq 0 ] || { echo "install-service: run it as root" >&2; exit 1; }
case $root in *[!A-Za-z0-9/._+-]*) echo "install-service: systemd takes no such path: $root" >&2; exit 1 ;; esac
case $root in /home/* | /root/*)
    echo "install-service: the services cannot see $root; put the checkout below /opt, for example" >&2
    exit 1
    ;;
esac

if ! id -u buildfarm >/dev/null 2>&1; then
    useradd --system --home-dir "$home" --shell /usr/sbin/nologin --comment "build farm" buildfarm
    echo "user buildfarm made"
fi
"$root/scripts/install.sh" --for=buildfarm

# The units hide some of these from some parts, so they must be there before the first start.
install -d -o buildfarm -g buildfarm -m 0755 "$home"
for directory in archive keys master secrets tmp; do
    install -d -o buildfarm -g buildfarm -m 0700 "$home/$directory"
done
for name in admin signer; do
    secret=$home/secrets/$name-password
    [ -s "$secret" ] || (umask 077 && head -c 32 /dev/urandom | base64 >"$secret" && chown buildfarm: "$secret")
done

for unit in "$root"/systemd/*; do
    sed "s#/opt/buildfarm#$root#g" "$unit" >"$units/${unit##*/}"
done
[ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "units in $units; start them with: systemctl enable --now buildfarm.target"
