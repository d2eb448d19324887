from pathlib import Path

import av
from tables import bench

cutting, film = bench("cutting"), bench("film")


def test_a_film_goes_whole_and_stage_by_stage(tmp_path: Path) -> None:
    clip = cutting.cut(tmp_path / "clip.mp4", 8, size=(96, 54))
    (tmp_path / "drafts").mkdir()
    one = film.Film(clip, tmp_path / "drafts", model="fast", backend="torch")
    assert one.plan.model == "fast"
    assert [tuple(tensor.shape) for tensor in one.model()] == [(1, 3, 108, 192)] * 8
    for stage in (one.probe, one.decode, one.colours, one.encode):
        stage()
    for result in (one.join(), one.whole()):
        with av.open(str(result)) as container:
            shapes = [(frame.width, frame.height) for frame in container.decode(video=0)]
        assert shapes == [(192, 108)] * 8
