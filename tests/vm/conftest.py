"""An image, made once and kept beside the roots; gateways, on short paths: those of sockets are bounded."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from buildfarm.build.bootstrap import native_architecture
from buildfarm.settings import Settings
from buildfarm.vm.callbacks import Callbacks
from buildfarm.vm.gateway import Gateway, GatewayOrder
from buildfarm.vm.http_stream import Patience
from buildfarm.vm.images import Image, get_image, image_spec_for
from buildfarm.vm.targets import Target
from buildfarm.vm.upstream import Reach

OpenGateway = Callable[..., Gateway]


@pytest.fixture(scope="session")
def image(root_cache: Path, host_series: str, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The host series' image; the first test that wants it after a change of the image's parts makes it."""
    nowhere = tmp_path_factory.getbasetemp()
    settings = Settings(root=nowhere, home=nowhere, recipes=nowhere)
    spec = image_spec_for(settings, host_series, native_architecture())
    return get_image(spec, root_cache, sys.__stderr__.buffer)


@pytest.fixture(scope="session")
def image_cache(image: Image) -> Path:
    """A cache directory with the host series' image in it."""
    return image.directory.parent.parent


@pytest.fixture
def socket_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        yield Path(name)


@pytest.fixture
def open_gateway(socket_directory: Path) -> Iterator[OpenGateway]:
    """Start gateways; ``mirrors``, ``archive`` and ``recipe`` take ports of 127.0.0.1 or targets."""

    def targets(words: tuple[int | Target, ...]) -> frozenset[Target]:
        return frozenset(Target("127.0.0.1", word) if isinstance(word, int) else word for word in words)

    with ExitStack() as stack:

        def start(
            callbacks: Callbacks | None = None,
            *,
            mirrors: tuple[int | Target, ...] = (),
            archive: tuple[int | Target, ...] = (),
            recipe: tuple[int | Target, ...] = (),
            name: str = "s",
            patience: Patience | None = None,
            **more: Any,
        ) -> Gateway:
            order = GatewayOrder(
                socket_directory / name,
                callbacks or Callbacks("r", "m"),
                Reach(targets(archive), targets(mirrors), targets(recipe)),
                tcp=True,
                patience=patience or Patience(head_s=5, idle_s=10, connect_s=5),
                **more,
            )
            return stack.enter_context(Gateway(order))

        yield start
