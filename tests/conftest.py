"""For all tests: time decides none of them. A real systemd, booted once for each file that asks."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from installed import Service, installed, rested
from power import see_mounts_alone

DISKS = ("/dev/shm", "/var/tmp", "/tmp")

settings.register_profile("house", deadline=None)
settings.load_profile("house")


def pytest_configure() -> None:
    """Begin: each process of several that test side by side mounts for itself."""
    see_mounts_alone()


@pytest.fixture
def second_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`."""
    places = [place for place in map(Path, DISKS) if place.stat().st_dev != tmp_path.stat().st_dev]
    if not places:
        pytest.skip(f"one file system has all of {', '.join(DISKS)}, and the folder of tests")
    with TemporaryDirectory(dir=places[0]) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def machine_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service, installed; each test leaves it as it is."""
    with installed(tmp_path_factory.mktemp("machine")) as service:
        yield service


@pytest.fixture
def service(machine_service: Service) -> Iterator[Service]:
    """The service, stopped, with nothing done yet."""
    with rested(machine_service):
        yield machine_service
