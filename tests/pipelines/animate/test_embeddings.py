import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from darkroom.pipelines.animate.embeddings import MOST, Embeddings, Encoder

ENCODER = Encoder(sha256="ab", dtype="bf16", device_kind="cpu")


class Computing:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return torch.arange(6, dtype=torch.bfloat16).view(1, 2, 3)


def test_words_are_read_once(tmp_path: Path) -> None:
    kept, compute = Embeddings(tmp_path / "embeddings", ENCODER), Computing()
    first, second = (kept.embedding("a cat", compute) for _ in range(2))
    assert compute.calls == 1
    assert torch.equal(first, second)
    assert second.dtype == torch.bfloat16


def test_other_words_and_other_encoders_are_others(tmp_path: Path) -> None:
    paths = {Embeddings(tmp_path, ENCODER).path(words) for words in ("a cat", "a dog", "")}
    for change in ({"sha256": "cd"}, {"dtype": "fp32"}, {"device_kind": "cuda"}):
        paths.add(Embeddings(tmp_path, replace(ENCODER, **change)).path("a cat"))
    assert len(paths) == 6


@pytest.mark.parametrize("content", [b"", b"noise", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_damaged_file_is_computed_again_and_mended(tmp_path: Path, content: bytes) -> None:
    kept, compute = Embeddings(tmp_path, ENCODER), Computing()
    kept.path("a cat").write_bytes(content)
    assert torch.equal(kept.embedding("a cat", compute), compute())
    kept.embedding("a cat", compute)
    assert compute.calls == 2


def test_those_not_used_for_longest_go(tmp_path: Path) -> None:
    kept = Embeddings(tmp_path, ENCODER)
    for number in range(MOST):
        kept.embedding(str(number), Computing())
        os.utime(kept.path(str(number)), (number, number))
    kept.embedding("0", Computing())  # used again
    kept.embedding("one more", Computing())
    assert len(list(tmp_path.iterdir())) == MOST
    assert kept.path("0").exists()
    assert not kept.path("1").exists()


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    compute = Computing()
    kept = Embeddings(tmp_path / "gone" / "embeddings", ENCODER)
    assert torch.equal(kept.embedding("a cat", compute), kept.embedding("a cat", compute))
    assert compute.calls == 2
    assert "prompts are read anew each time" in caplog.text
