"""Codenames and their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildfarm.errors import FarmTrouble, PackageFault
from buildfarm.source.series import find_series


@pytest.mark.parametrize(
    ("codename", "label"),
    [("bookworm", "debian12"), ("bullseye", "debian11"), ("noble", "ubuntu24.04"), ("jammy", "ubuntu22.04")],
)
def test_a_codename_has_its_distribution_and_number(codename: str, label: str) -> None:
    assert find_series(codename).label == label


def test_an_unknown_codename_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(PackageFault, match="bookwurm") as caught:
        find_series("bookwurm")
    assert "bookworm" in caught.value.resolution


def test_sid_has_no_number_to_end_a_version_in() -> None:
    with pytest.raises(PackageFault, match="no number"):
        find_series("sid")


def test_without_the_tables_the_farm_is_at_fault(tmp_path: Path) -> None:
    with pytest.raises(FarmTrouble) as caught:
        find_series("bookworm", tmp_path)
    assert "distro-info-data" in caught.value.resolution
