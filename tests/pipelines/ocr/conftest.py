"""For the tests of reading: the engine takes seconds to come up, and one serves them all."""

import pytest

from darkroom.pipelines.ocr.engines.rapid import Rapid, open_rapid


@pytest.fixture(scope="session")
def rapid() -> Rapid:
    return open_rapid(threads=2)
