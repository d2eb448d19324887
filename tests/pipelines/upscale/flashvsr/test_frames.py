from typing import Any

import pytest
from goldens import config, facts
from hypothesis import given as drawn
from hypothesis import strategies as st

from darkroom.pipelines.base import Segment
from darkroom.pipelines.upscale.flashvsr.frames import (
    AHEAD,
    EDGE,
    FIRST,
    LEAD_IN,
    NEXT,
    STRIDE,
    Window,
    boundaries,
    chunk,
    given,
    needed,
    official,
    segments,
    window,
)

LOGIC = facts("frame_logic")


def clips(lq: range) -> list[list[int]]:
    """Cut the frames fed to the LQ projection into its clips: frame 0 alone, then four at a time."""
    first = [[0, 1]] if lq.start == 0 else []
    return first + [[at, at + STRIDE] for at in range(lq.start + len(first), lq.stop, STRIDE)]


@pytest.mark.parametrize("row", LOGIC["table"], ids=lambda row: str(row["n_input"]))
def test_frame_counts_are_the_reference_s(row: dict[str, int]) -> None:
    frames = row["n_input"]
    assert official(frames) == row["chunks_official"]
    assert given(official(frames)) == row["out_official"]
    assert given(needed(frames)) == row["n_padded_plus"]
    assert given(needed(frames)) + AHEAD == row["F_plus"]


@pytest.mark.parametrize("row", LOGIC["schedule"], ids=lambda row: str(row["chunk"]))
def test_the_schedule_is_the_reference_s(row: dict[str, Any]) -> None:
    found = chunk(row["chunk"])
    assert clips(found.lq) == row["lq_proj_slices"]
    assert [found.latents.start, found.latents.stop] == row["latents"]
    assert found.rope_offset == row["rope_offset"]
    assert found.frames.stop == row["lq_cur_idx"]


@drawn(st.integers(1, 3000))
def test_chunks_follow_each_other_without_gap(count: int) -> None:
    before, this = chunk(count - 1), chunk(count)
    assert (this.lq.start, this.latents.start, this.frames.start) == (
        before.lq.stop,
        before.latents.stop,
        before.frames.stop,
    )
    assert this.frames.stop == given(count + 1)
    assert this.lq.stop == this.frames.stop + AHEAD
    assert this.frames.stop == STRIDE * (this.latents.stop - 1) + 1


@drawn(st.integers(1, 5000))
def test_no_fewer_chunks_would_do(frames: int) -> None:
    chunks = needed(frames)
    assert given(chunks) >= frames
    assert chunks == 1 or given(chunks - 1) < frames


def test_one_segment_is_the_official_stream() -> None:
    frames = given(official(config()["e2e_n0"]))
    whole = window(Segment(0, 0, frames), frames, cut=False)
    assert whole.chunks == official(frames)
    assert (whole.read_start, whole.read_stop, whole.first_latent, whole.kept) == (0, frames, 0, slice(0, frames))
    assert whole.repeat == AHEAD


def test_a_segment_in_the_middle_reads_real_frames_on_both_sides() -> None:
    start, stop = 8 * 20 + EDGE, 8 * 30 + EDGE
    assert window(Segment(1, start, stop), 1000, cut=False) == Window(
        read_start=start - LEAD_IN,
        read_stop=stop + AHEAD,
        repeat=0,
        chunks=(LEAD_IN + 80 - FIRST) // NEXT + 1,
        drop=LEAD_IN,
        keep=80,
        first_latent=(start - LEAD_IN) // STRIDE,
    )


def test_a_segment_that_begins_a_scene_has_no_lead_in() -> None:
    found = window(Segment(1, 163, 200), 1000, cut=True)
    assert (found.read_start, found.drop, found.first_latent) == (163, 0, 41)


def test_a_lead_in_starts_at_the_film_s_first_frame_at_the_earliest() -> None:
    found = window(Segment(1, FIRST, 45), 1000, cut=False)
    assert (found.read_start, found.drop, found.first_latent) == (0, FIRST, 0)


def test_a_film_of_one_frame_repeats_it() -> None:
    found = window(Segment(0, 0, 1), 1, cut=False)
    assert (found.read_stop, found.repeat, found.chunks, found.kept) == (1, FIRST + AHEAD - 1, 1, slice(0, 1))


@pytest.mark.parametrize("segment", [Segment(0, 3, 3), Segment(0, 5, 11), Segment(0, -1, 4)])
def test_a_segment_outside_the_film_is_refused(segment: Segment) -> None:
    with pytest.raises(ValueError, match="not within 10 frames"):
        window(segment, 10, cut=False)


@st.composite
def films(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    frames = draw(st.integers(1, 2000))
    cuts = draw(st.lists(st.integers(0, frames + 20), unique=True, max_size=30))
    return frames, draw(st.integers(1, 400)), sorted(cuts)


@drawn(films(), st.none() | st.integers(0, 300))
def test_every_frame_is_in_one_segment_and_given_once(film: tuple[int, int, list[int]], reach: int | None) -> None:
    frames, size, cuts = film
    made: list[int] = []
    for position, segment in enumerate(segments(frames, size, cuts, reach=reach)):
        assert segment.index == position
        found = window(segment, frames, cut=segment.start in cuts)
        stream = [*range(found.read_start, found.read_stop), *[found.read_stop - 1] * found.repeat]
        assert len(stream) == chunk(found.chunks - 1).lq.stop
        made += stream[: given(found.chunks)][found.kept]
    assert made == list(range(frames))


@drawn(films())
def test_boundaries_lie_on_chunk_edges_or_scene_beginnings(film: tuple[int, int, list[int]]) -> None:
    frames, size, cuts = film
    for segment in segments(frames, size, cuts)[1:]:
        assert segment.start % NEXT == EDGE or segment.start in cuts


@drawn(films())
def test_segments_off_scene_beginnings_stream_the_film_s_own_latents(film: tuple[int, int, list[int]]) -> None:
    frames, size, _ = film
    for segment in segments(frames, size):
        found = window(segment, frames, cut=False)
        assert found.read_start % NEXT == 0
        assert found.first_latent * STRIDE == found.read_start
        assert found.drop == min(segment.start, LEAD_IN)


@drawn(st.integers(16, 400), st.integers(1, 5000))
def test_boundaries_are_the_chunk_edges_nearest_to_an_even_division(size: int, frames: int) -> None:
    found = boundaries(frames, size)
    parts = max(1, frames // size)
    assert len(found) == parts - 1
    assert all(abs(edge - frames * (index + 1) // parts) <= NEXT // 2 for index, edge in enumerate(found))


@drawn(st.integers(64, 400), st.integers(1, 5000), st.randoms())
def test_segments_keep_about_their_size(size: int, frames: int, random: Any) -> None:
    cuts = sorted(random.sample(range(frames), min(frames, frames // 40)))
    sizes = [segment.length for segment in segments(frames, size, cuts)]
    assert all(size // 2 - NEXT <= length for length in sizes) or len(sizes) == 1
    assert all(length <= 5 * size // 2 + NEXT for length in sizes)


def test_a_boundary_moves_to_the_nearest_scene_within_reach() -> None:
    assert boundaries(300, 100) == (101, 197)
    starts = [segment.start for segment in segments(300, 100, (70, 90, 115, 140, 230))]
    assert starts == [0, 90, 197]
    assert [segment.start for segment in segments(300, 100, (90, 115), reach=5)] == [0, 101, 197]
