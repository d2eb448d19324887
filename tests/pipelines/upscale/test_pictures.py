from collections.abc import Iterator
from dataclasses import replace

import pytest

from darkroom.pipelines.upscale.pictures import source_planes
from darkroom.pipelines.video.facts import VideoFacts
from darkroom.pipelines.video.read import Picture, read


def test_pictures_that_cannot_be_decoded_are_told_and_logged(
    bunny: VideoFacts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_badly(facts: VideoFacts, start: int, stop: int) -> Iterator[Picture]:
        for index, picture in enumerate(read(facts, start, stop)):
            yield replace(picture, repeated=index in (2, 3))

    monkeypatch.setattr("darkroom.pipelines.upscale.pictures.read", read_badly)
    damaged: list[int] = []
    assert len(list(source_planes(bunny, range(4, 10), damaged))) == 6
    assert damaged == [6, 7]
    assert caplog.messages == ["bunny.mp4: 2 of frames 4 to 9 cannot be decoded; the picture before is shown instead"]
