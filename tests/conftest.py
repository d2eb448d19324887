"""For all tests: time decides none of them. A real systemd, booted once for each file that asks."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from installed import Service, installed, rested

settings.register_profile("house", deadline=None)
settings.load_profile("house")


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
