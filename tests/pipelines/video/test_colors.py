from typing import Any

import pytest

from darkroom.pipelines.video.colors import Colors, describe, find_unsupported


def colors(**tags: Any) -> Colors:
    unspecified: dict[str, Any] = {"colorspace": 2, "primaries": 2, "transfer": 2, "full_range": False, "height": 480}
    return describe(**(unspecified | tags))


def test_untagged_sd_is_bt601_and_untagged_hd_is_bt709() -> None:
    assert (colors().matrix, colors().colorspace, colors().primaries) == ("bt601", 6, 6)
    assert colors(height=576).primaries == 5
    assert (colors(height=720).matrix, colors(height=720).transfer) == ("bt709", 1)


def test_tags_of_the_source_win_over_custom() -> None:
    assert colors(colorspace=1, primaries=9, transfer=13) == Colors(
        matrix="bt709", full_range=False, colorspace=1, primaries=9, transfer=13
    )


def test_no_tag_is_left_unspecified() -> None:
    for colorspace in range(12):
        found = colors(colorspace=colorspace)
        assert not {found.colorspace, found.primaries, found.transfer} & {0, 2}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"transfer": 16}, "PQ"),
        ({"transfer": 18}, "HLG"),
        ({"bits": 10, "pixel_format": "yuv420p10le"}, "10 bits"),
        ({"alpha": True, "pixel_format": "yuva420p"}, "transparency"),
        ({"pixel_format": "rgb24"}, "rgb24"),
        ({"pixel_format": "pal8"}, "pal8"),
        ({"pixel_format": "yuv444p", "colorspace": 0}, "RGB"),
    ],
)
def test_pictures_that_would_be_spoiled_have_a_reason(change: dict[str, Any], reason: str) -> None:
    plain: dict[str, Any] = {"pixel_format": "yuv420p", "bits": 8, "alpha": False, "colorspace": 1, "transfer": 1}
    assert find_unsupported(**plain) is None
    assert reason in (find_unsupported(**(plain | change)) or "")
