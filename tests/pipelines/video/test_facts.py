from clips.shapes import BUNNY

from darkroom.pipelines.base import Plan, fingerprint
from darkroom.pipelines.video.probe import probe


def test_counts_and_lengths_follow_from_the_frame_times() -> None:
    facts = probe(BUNNY)
    assert facts.frames == len(facts.pts) == 132
    assert facts.end == facts.pts[-1] + 512
    assert facts.duration_s == 5.28


def test_facts_are_plain_data_that_a_fingerprint_can_name() -> None:
    facts = probe(BUNNY)
    plan = Plan(unit="frame", segments=(), part_suffix=".mp4", result_suffix=".mp4", warnings=(repr(facts),))
    assert fingerprint("upscale", plan) == fingerprint("upscale", plan)
    assert probe(BUNNY) == facts
    assert hash(facts) == hash(probe(BUNNY))
