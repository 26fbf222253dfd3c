"""A double of Launchpad's web service over loopback HTTP, in a process of its own; README.md says how it is used.

It follows what Launchpad's own code says (``lp.soyuz``, ``lp.services``, ``lazr.restful``,
``lazr.batchnavigator``), and what the real launchpadlib sends. It models:

- Service roots ``devel``, ``1.0`` and ``beta``; the WADL that launchpadlib brings, with what ``devel`` has
  besides (copyPackage, copyPackages, getByReference, total_size_link); entries with ETags and 304;
  ``/people/+me``.
- Batches: 75 by default, 300 at most; in ``devel`` only the last batch of an operation tells the total size.
- Parameters as lazr.restful reads them: JSON where it is JSON. Request lines of more than 8190 characters: 414.
- Login: request token, authorization page, access token; PLAINTEXT signatures; unknown, expired and wrong
  tokens are told 401; read-only tokens change nothing; without a token one reads what is public.
- Private PPAs: the entry is redacted, their operations and contents are 401 to strangers, getByReference gives
  null; members of the owning team and subscribers read.
- Publications: Pending until a delay has passed, then Published, when lower versions are Superseded; deletion
  at once, with the binaries; files go after seven days; the order and the filters of getPublishedSources and
  -Binaries.
- Copies: one job a name, later, one lock for a source version and archive; refused at once for lack of rights,
  other pockets than Release, obsolete series; refused in silence, as ``CopyChecker`` does, for a lower version
  than the active one, another source of the same version (whatever its status), no binaries, the same version
  building or unpublished in the destination, files that expired, a source file's name with other contents that
  the archive ever had, private files going public without ``unembargo``. Names not active are skipped;
  unheard-of ones are a 404.
- Builds: by series and architecture, in their archive or where their binaries were copied to; missing ones are
  made after a copy; the summaries of many sources at once, with FULLYBUILT_PENDING; their logs; retries.
- Files: real source and binary packages, the same bytes each time, and an apt repository for each PPA,
  unsigned.

It does not model: the primary archive's pockets, components, queues and uploaders; uploads; phased updates;
PATCH and DELETE; bugs and all else that is not archives; throttling; compression of answers; binary files'
names with other contents (Launchpad finds them only when publishing); signed indexes; removal of single
binaries.
"""

from tests.doubles.launchpad.client import ControlError, Credentials, LaunchpadDouble

__all__ = ["ControlError", "Credentials", "LaunchpadDouble"]
