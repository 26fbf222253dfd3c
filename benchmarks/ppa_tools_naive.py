"""What a release engineer would write with launchpadlib in ten minutes: copies, one package after the other."""

from __future__ import annotations

import sys
import time

from launchpadlib.launchpad import Launchpad


def main(root: str, credentials: str, source: str, destination: str) -> None:
    """Copy what is published in one PPA to another, with binaries that are built, and see it arrive."""
    launchpad = Launchpad.login_with(
        "naive", service_root=f"{root}/", version="devel", credentials_file=credentials
    )
    archives = []
    for name in (source, destination):
        owner, _, ppa = name.partition("/")
        archives.append(launchpad.people[owner].getPPAByName(name=ppa, distribution="/ubuntu"))
    here, there = archives
    asked = []
    for one in here.getPublishedSources(status="Published"):
        name, version = one.source_package_name, one.source_package_version
        series = one.distro_series.name
        if any(build.buildstate != "Successfully built" for build in one.getBuilds()):
            continue
        if len(there.getPublishedSources(source_name=name, version=version, exact_match=True, status="Published")):
            continue
        there.copyPackage(
            source_name=name,
            version=version,
            from_archive=here,
            to_series=series,
            to_pocket="Release",
            include_binaries=True,
        )
        asked.append((name, version))
    for name, version in asked:
        while not len(there.getPublishedSources(source_name=name, version=version, exact_match=True)):
            time.sleep(0.5)


if __name__ == "__main__":
    main(*sys.argv[1:])
