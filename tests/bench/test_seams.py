import pytest
import torch
from tables import bench, number, rows_of

seams = bench("seams")


@pytest.mark.long
def test_a_longer_lead_in_brings_a_segment_nearer_to_the_whole_stream(tmp_path: object) -> None:
    rows = rows_of("seams", tmp_path)  # type: ignore[arg-type]
    assert [int(row["lead-in, frames"]) for row in rows] == [*seams.LEAD_INS, 0, 29]
    assert [row["border"] for row in rows] == ["within a scene"] * len(seams.LEAD_INS) + ["at a cut"] * 2
    first = [number(row["first 16 frames, dB"]) for row in rows[: len(seams.LEAD_INS)]]
    assert first == sorted(first)
    for row in rows[2 : len(seams.LEAD_INS)]:  # what is left of a seam fades behind the border
        assert number(row["last 16 frames, dB"]) > number(row["first 16 frames, dB"])


def test_decibels_count_from_the_largest_difference_of_numbers_in_minus_1_to_1() -> None:
    assert seams.decibel(torch.full((3,), 4.0)) == 0
    assert seams.decibel(torch.tensor([0.0004])) == pytest.approx(40)
    assert seams.decibel(torch.zeros(2)) > 120  # equal


def test_the_first_frame_the_first_ones_and_the_last_ones_are_told_apart() -> None:
    of = seams.window(seams.Segment(1, seams.BORDER, 106), 106, cut=False)
    errors = torch.full((2, seams.INSIDE), 0.04)
    errors[:, 0] = 0.4
    errors[:, -seams.EARLY :] = 0.0004
    row = seams.row("b", 29, of, errors)
    assert row["chunks more"] == 4
    assert row["first frame, dB"] == row["worst of them, dB"] == pytest.approx(10)
    assert 10 < row["first 16 frames, dB"] < 20
    assert row["last 16 frames, dB"] == pytest.approx(40)


def test_before_a_cut_the_film_shows_something_else() -> None:
    plain, cut = seams.film((128, 128)), seams.film((128, 128), cut=True)
    assert torch.equal(plain[seams.BORDER :], cut[seams.BORDER :])
    assert not torch.equal(plain[seams.BORDER - 1], cut[seams.BORDER - 1])
