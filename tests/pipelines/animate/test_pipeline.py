import json
from pathlib import Path

import av
import pytest
from PIL import Image
from tiny_wan import animate, make

from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.pipeline import drawn_seed
from darkroom.pipelines.errors import Unavailable


def test_an_image_becomes_a_video_that_tells_how_it_was_made(models: Path, image: Path, tmp_path: Path) -> None:
    pipeline = animate(models, seed=7)
    plan, _, result = make(pipeline, image, tmp_path / "work")
    with av.open(str(result)) as container:
        assert container.metadata["title"] == "a cat runs"
        assert json.loads(container.metadata["comment"])["seed"] == 7
        stream = container.streams.video[0]
        assert (stream.width, stream.height, str(stream.average_rate)) == (plan.width, plan.height, "16")
        assert sum(1 for _ in container.decode(video=0)) == 5
    report = pipeline.report(plan)
    assert report["prompt"] == "a cat runs"
    assert report["weights_sha256"]
    json.dumps(report)


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
@pytest.mark.parametrize("begun_with", [1, 2, 3, 4])
def test_a_job_that_was_killed_makes_the_same_bytes(
    models: Path, image: Path, tmp_path: Path, solver: str, begun_with: int
) -> None:
    pipeline = animate(models, solver=solver)
    _, parts, result = make(pipeline, image, tmp_path / "one")
    _, other_parts, other = make(pipeline, image, tmp_path / "two", begun_with=begun_with)
    assert [part.read_bytes() for part in parts] == [part.read_bytes() for part in other_parts]
    assert result.read_bytes() == other.read_bytes()


def test_first_and_last_frame_may_lie_beside_it(models: Path, image: Path, tmp_path: Path) -> None:
    *_, result = make(animate(models, poster=True, last_image=True), image, tmp_path / "work")
    assert sorted(path.name for path in result.iterdir()) == ["0.mp4", "1.jpg", "2.png"]
    with Image.open(result / "2.png") as last:
        assert last.size == (144, 96)


def test_a_seed_that_is_not_given_is_drawn_once_for_image_and_prompt(models: Path, image: Path) -> None:
    facts = animate(models).probe(image)
    seeds = [drawn_seed(Options(prompt=prompt), facts) for prompt in ("a", "a", "b")]
    assert seeds[0] == seeds[1] != seeds[2]
    assert drawn_seed(Options(prompt="a", seed=3), facts) == 3


def test_missing_weights_are_named_with_the_way_to_them(image: Path, tmp_path: Path) -> None:
    pipeline = animate(tmp_path / "none")
    with pytest.raises(Unavailable, match=r"wan2\.1-i2v"):
        pipeline.plan(pipeline.probe(image))
