from pathlib import Path

import pytest
from tables import bench, number, rows_of


@pytest.mark.long
def test_each_variant_has_a_row_of_positive_figures(tmp_path: Path) -> None:
    rows = rows_of("upscale", tmp_path)
    assert [(row["model"], row["backend"]) for row in rows] == [("photo", "torch"), ("fast", "torch")]
    for row in rows:
        assert row["frames"] == "8"
        for column in ("fps ratio, clock", "fps ratio, CPU", "whole, CPU-ms", "model, CPU-ms", "encode, CPU-ms"):
            assert number(row[column]) > 0


def test_ratios_are_taken_within_a_round() -> None:
    upscale, spent = bench("upscale"), bench("rows").Spent
    names = ("model", "whole", "decode", "colours", "encode", "probe", "join")
    rounds = [
        {
            name: spent(wall_s=busy * (1 if name == "model" else 2), cpu_s=busy * (3 if name == "model" else 4))
            for name in names
        }
        for busy in (1.0, 10.0, 2.0)
    ]
    row = upscale.summary(rounds, 100, "bf16")
    assert row["fps ratio, clock"] == 0.5
    assert row["fps ratio, CPU"] == 0.75
    assert row["whole, CPU-ms"] == 80  # the middle round: 8 CPU-s for 100 frames
