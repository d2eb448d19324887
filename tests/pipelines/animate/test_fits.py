from pathlib import Path

from darkroom.pipelines.animate.fits import rows, table

DOCS = Path(__file__).parents[3] / "docs" / "animate.md"


def test_every_row_fits_its_card_at_each_stage() -> None:
    found = list(rows())
    assert len(found) == 3 * 2 * 2
    for profile, _, _, _, *stages, _ in found:
        assert all(float(stage) < float(profile.removesuffix("GB")) for stage in stages)


def test_the_documentation_has_the_table() -> None:
    assert table() in DOCS.read_text()
