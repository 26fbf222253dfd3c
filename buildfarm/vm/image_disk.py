"""A root's tarball as a machine's disk, made without root's powers and the same for the same tarball.

The tarball is unpacked as the root of our subordinate ids, so that owners and file capabilities are right, and
mke2fs fills a new file system from that directory. What of a file system differs from one making to the next is
then given one value: identifiers and the hash seed come from the image's key, all times from the archive's date.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from buildfarm import process
from buildfarm.build.bootstrap import open_directory
from buildfarm.build.namespaces import run_as_owner
from buildfarm.vm.image_recipe import DISK_BYTES

DISK_TIMEOUT_S = 900
# Named one by one, so that neither the host's mke2fs.conf nor its version decides; without checksums of metadata,
# which an emulated processor would compute at every step for a disk that lives minutes.
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize"
)
# debugfs takes the times of all inodes in one pass: they are numbered from 1 on without a gap.
_SCRIPT = r"""
umask 022
mkdir fs
tar --extract --directory fs --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
truncate --size="$1" disk.raw
export E2FSPROGS_FAKE_TIME="$2" MKE2FS_CONFIG=/dev/null
mkfs.ext4 -q -F -b 4096 -I 256 -i 16384 -m 0 -J size=32 -O "$4" -U "$3" -E hash_seed="$3" -L machine -d fs disk.raw
rm -rf fs
used=$(dumpe2fs -h disk.raw 2>/dev/null |
    awk '/^Inode count:/ { n = $3 } /^Free inodes:/ { n -= $3 } END { print n }')
seq 2 "$used" | awk -v time="@$2" '
    { print "set_inode_field <" $1 "> atime " time; print "set_inode_field <" $1 "> ctime " time
      print "set_inode_field <" $1 "> crtime " time }
    $1 == 2 { print "set_inode_field <2> mtime " time }' >times
debugfs -w -f times disk.raw >debugfs.log 2>&1
rm times debugfs.log
"""


def make_disk(tarball: Path, scratch: Path, disk: Path, key: str, epoch_s: int) -> None:
    """Make of ``tarball`` the qcow2 file ``disk``; what is in between lies in ``scratch``. Raises FarmTrouble."""
    identifier = str(uuid.uuid5(uuid.NAMESPACE_URL, f"buildfarm:image:{key}"))
    making = open_directory(scratch / "disk", "making")
    with tarball.open("rb") as content:
        run_as_owner(
            ("sh", "-euc", _SCRIPT, "sh", str(DISK_BYTES), str(epoch_s), identifier, FEATURES),
            making,
            timeout_s=DISK_TIMEOUT_S,
            input_file=content,
        )
    # One coroutine: with more the clusters' order in the file is a matter of luck.
    convert = ("qemu-img", "convert", "-m", "1", "-f", "raw", "-O", "qcow2", making / "disk.raw", disk)
    process.run(convert, timeout_s=DISK_TIMEOUT_S, merge_errors=True, check=True)
