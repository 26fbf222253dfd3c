#!/bin/sh
# Makes of a fresh root file system a machine that comes up fast and is thrown away; runs inside it, as its root.
# systemd is process 1 as on any machine, with journal, udev and packages' own units: what is left out is the
# upkeep of a machine that lives for months, terminals that nobody sits at, and generators for disks it has not.
set -eu

mask() {
    for unit; do ln -sfn /dev/null "/etc/systemd/system/$unit"; done
}

mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer man-db.timer motd-news.timer systemd-tmpfiles-clean.timer ua-timer.timer
mask console-getty.service getty-static.service getty@tty1.service serial-getty@ttyS0.service \
    serial-getty@ttyAMA0.service systemd-ask-password-console.path systemd-ask-password-wall.path
mask modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service \
    modprobe@fuse.service modprobe@loop.service systemd-modules-load.service systemd-pstore.service
mask dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount
mask systemd-initctl.socket systemd-journald-audit.socket systemd-journal-flush.service \
    systemd-network-generator.service systemd-networkd-wait-online.service systemd-pcrphase.service \
    systemd-pcrphase-sysinit.service systemd-random-seed.service systemd-remount-fs.service \
    systemd-timesyncd.service systemd-udev-load-credentials.service systemd-udev-settle.service \
    systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service
# The initial RAM disk has made these device nodes.
mask kmod-static-nodes.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service
# Nobody is to be kept from logging in until everything is up.
mask systemd-user-sessions.service
mkdir -p /etc/tmpfiles.d
ln -sfn /dev/null /etc/tmpfiles.d/systemd-nologin.conf

mkdir -p /etc/systemd/system-generators
for name in bless-boot cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run ssh system-update \
    tpm2 veritysetup; do
    ln -sfn /dev/null "/etc/systemd/system-generators/systemd-$name-generator"
done

ln -sfn /lib/systemd/system/multi-user.target /etc/systemd/system/default.target
systemctl --quiet enable buildfarm-firstboot.service

# udev looks at the devices that there are, but not at each of 64 text consoles, nor at ACPI's 40; what drivers
# those would bring the initial RAM disk has loaded. Under emulation each costs it 10 ms.
mkdir -p /etc/systemd/system/systemd-udev-trigger.service.d /etc/modprobe.d
cat >/etc/systemd/system/systemd-udev-trigger.service.d/buildfarm.conf <<'EOF'
[Service]
ExecStart=
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-nomatch=tty --subsystem-nomatch=acpi \
    --subsystem-nomatch=wakeup --subsystem-nomatch=vc --subsystem-nomatch=event_source --subsystem-nomatch=bdi \
    --subsystem-nomatch=workqueue --subsystem-nomatch=memory --subsystem-nomatch=clockevents --subsystem-nomatch=leds
ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=tty --sysname-match=hvc0 \
    --sysname-match=ttyS0 --sysname-match=ttyAMA0
EOF
printf 'blacklist %s\n' ata_generic ata_piix kvm kvm_amd kvm_intel serio_raw >/etc/modprobe.d/buildfarm.conf

# A unit with credentials gets a file system of its own for them; these have no use for any.
for unit in systemd-sysctl systemd-sysusers systemd-tmpfiles-setup; do
    mkdir -p "/etc/systemd/system/$unit.service.d"
    printf '[Service]\nLoadCredential=\n' >"/etc/systemd/system/$unit.service.d/buildfarm.conf"
done

# A full disk does not silence the journal.
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\n' >/etc/systemd/journald.conf.d/buildfarm.conf
rm -rf /var/log/journal

# The host asks for a shell on this console; nobody else can reach it.
mkdir -p /etc/systemd/system/serial-getty@hvc0.service.d
cat >/etc/systemd/system/serial-getty@hvc0.service.d/buildfarm.conf <<'EOF'
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200 %I $TERM
EOF

echo machine >/etc/hostname
cat >/etc/hosts <<'EOF'
127.0.0.1 localhost machine
::1 localhost ip6-localhost ip6-loopback
EOF
echo '# Nothing answers here: apt asks its proxy.' >/etc/resolv.conf
: >/etc/fstab

# What the host's apt is told is not the machine's to know.
rm -f /etc/apt/apt.conf.d/99mmdebstrap

# What would differ from one making to the next, and what must differ from one machine to the next. An empty
# machine-id is filled at boot; without the file every unit's preset would be applied anew.
rm -f /var/lib/systemd/random-seed /var/lib/dbus/machine-id /etc/ssh/ssh_host_*_key*
rm -rf /var/log/apt /var/log/*.log /var/cache/ldconfig/aux-cache /var/cache/apt/*.bin /boot/initrd.img-*
: >/etc/machine-id
touch /etc/.updated /var/.updated
