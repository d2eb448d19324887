from pathlib import Path

import pytest

from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.probe import probe

BUNNY = Path(__file__).parents[2] / "clips" / "bunny.mp4"


@pytest.fixture(scope="session")
def bunny() -> VideoFacts:
    """A real film of 320x180 in H.264 with stereo sound."""
    return probe(BUNNY)
