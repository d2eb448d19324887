import pytest

from darkroom.pipelines.animate.estimate import expected_s, in_words, operations, seconds_of
from darkroom.pipelines.animate.fits import OFFICIAL
from darkroom.pipelines.animate.sizes import Size

SMALL, LARGE = Size(832, 480), Size(1280, 720)


def test_a_pass_has_the_published_number_of_operations() -> None:
    assert operations(OFFICIAL, SMALL, 81) / 1e15 == pytest.approx(1.66, abs=0.01)
    assert operations(OFFICIAL, LARGE, 81) / 1e15 == pytest.approx(6.49, abs=0.01)


# Seconds of whole runs, 40 steps of two passes, as published.
@pytest.mark.parametrize(
    ("device", "size", "seconds"),
    [
        ("NVIDIA H100 80GB HBM3", LARGE, 1491.6),
        ("NVIDIA A100-SXM4-80GB", LARGE, 2715.5),
        ("NVIDIA H20", LARGE, 5494.8),
        ("NVIDIA H200", SMALL, 366),
        ("NVIDIA GeForce RTX 4090 D", SMALL, 1220),
    ],
)
def test_published_cards_take_about_what_is_published(device: str, size: Size, seconds: float) -> None:
    found = expected_s(OFFICIAL, size, 81, 80, device, None)
    assert found is not None
    assert found[0] == pytest.approx(seconds, rel=0.05)
    assert found[1] == "by published times of such a card"


def test_what_was_measured_here_goes_before() -> None:
    assert expected_s(OFFICIAL, SMALL, 81, 80, "NVIDIA H100", {"step_s": 2.5}) == (200.0, "as measured here")


def test_an_unknown_device_is_not_guessed_at() -> None:
    assert expected_s(OFFICIAL, SMALL, 81, 80, "NVIDIA H1000", None) is None
    assert expected_s(OFFICIAL, SMALL, 81, 80, "AMD EPYC 9354, 2 threads", None) is None


@pytest.mark.parametrize("damaged", [None, 3.0, {}, {"step_s": True}, {"step_s": "3"}, {"step_s": -1}, {"step_s": 1e9}])
def test_what_cannot_be_true_is_not_believed(damaged: object) -> None:
    assert seconds_of(damaged) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.1, "about 1 s"), (80, "about 80 s"), (91, "about 2 min"), (2716, "about 45 min"), (7300, "about 2.0 h")],
)
def test_durations_are_said_as_people_do(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
