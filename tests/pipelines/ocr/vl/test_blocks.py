import numpy as np
from papers import ENGLISH, Paper, blank, faxed, photographed, write
from sheets import sheets

from darkroom.pipelines.ocr.page import Box, Kind, Region
from darkroom.pipelines.ocr.picture import Picture, Pixels
from darkroom.pipelines.ocr.vl.blocks import MARGIN, REACH, cuts, strips

PAGE = Paper(image=blank(), text="")
write(PAGE.image, ENGLISH, at=(90, 80))  # 10 lines, down to 500
write(PAGE.image, "Page 12", at=(560, 800), size=24)

BODY: Box = (85, 75, 1100, 505)


def region(kind: Kind, *box: float) -> Region:
    left, top, right, bottom = box
    return Region(kind=kind, box=(left, top, right, bottom), score=0.9)


def test_each_region_is_a_block_of_its_task() -> None:
    sheet = sheets()[0]
    regions = [
        region("text", 100, 60, 1100, 160),
        region("table", 110, 290, 930, 604),
        region("equation", 100, 660, 1100, 760),
    ]
    found = cuts(sheet.picture, regions)
    assert [piece.block.task for piece in found[:3]] == ["text", "table", "formula"]
    assert [piece.region for piece in found[:3]] == regions


def test_a_block_is_the_region_with_a_margin_and_knows_its_place() -> None:
    (piece, _) = cuts(PAGE.picture, [region("text", *BODY)])
    assert piece.at == (BODY[0] - MARGIN, BODY[1] - MARGIN)
    assert piece.block.rgb.shape == (BODY[3] - BODY[1] + 2 * MARGIN, BODY[2] - BODY[0] + 2 * MARGIN, 3)
    left, top = piece.at
    height, width = piece.block.rgb.shape[:2]
    assert (piece.block.rgb == PAGE.picture.rgb[top : top + height, left : left + width]).all()


def test_a_block_ends_with_the_page() -> None:
    first, *_ = cuts(PAGE.picture, [region("text", -3, -3, 2000, 2000)])
    assert first.at == (0, 0)
    assert first.block.rgb.shape == PAGE.picture.rgb.shape


def test_writing_in_no_region_is_a_block_too() -> None:
    _, missed = cuts(PAGE.picture, [region("text", *BODY)])
    assert missed.block.task == "text"
    left, top, right, bottom = missed.region.box
    assert 550 < left < 570 and 630 < right < 660
    assert 795 < top < 815 and 815 < bottom < 835


def test_nothing_is_shown_twice() -> None:
    half = region("text", 85, 75, 600, 505)
    first, *pieces = cuts(PAGE.picture, [half])
    assert len(pieces) > 1, "the right halves of the lines were left out"
    shown = round(first.region.box[2])
    assert 600 < shown < 600 + REACH * PAGE.picture.width + 1
    for piece in pieces:
        left, top = piece.at
        seen = piece.block.rgb[: max(0, 505 - top), : max(0, shown - left)]
        assert not seen.size or (seen == 255).all()


def test_a_region_that_cuts_through_the_ends_of_its_lines_grows_to_them() -> None:
    (whole, _) = cuts(PAGE.picture, [region("text", *BODY)])
    lines = bounds_of_ink(whole.block.rgb)
    tight = region("text", lines[0] + whole.at[0] + 20, BODY[1], lines[1] + whole.at[0] - 30, BODY[3])
    grown, *others = cuts(PAGE.picture, [tight])
    assert len(others) == 1, "the foot of the page; nothing of the lines is left over"
    ink = bounds_of_ink(grown.block.rgb)
    assert ink[1] - ink[0] == lines[1] - lines[0]


def test_a_region_does_not_grow_into_its_neighbour() -> None:
    left, right = region("text", 85, 75, 600, 505), region("text", 610, 75, 1100, 505)
    one, two, *_ = cuts(PAGE.picture, [left, right])
    assert one.region.box[2] <= 610
    assert two.region.box[0] >= 600


def bounds_of_ink(rgb: Pixels) -> tuple[int, int]:
    """Give the first and the last column that is not white."""
    columns = np.flatnonzero((rgb < 128).any(axis=(0, 2)))
    return int(columns[0]), int(columns[-1])


def test_a_page_without_regions_is_one_block() -> None:
    (piece,) = cuts(PAGE.picture, [])
    assert piece.region == Region(kind="text", box=(0, 0, 1240, 877))
    assert piece.block.rgb is not None and piece.block.rgb.shape == PAGE.picture.rgb.shape


def test_text_in_a_table_is_read_with_the_table() -> None:
    sheet = sheets()[0]
    table = Region(kind="table", box=sheet.box)
    inside = region("text", sheet.box[0] + 10, sheet.box[1] + 10, sheet.box[2] - 300, sheet.box[1] + 50)
    assert [piece.region.kind for piece in cuts(sheet.picture, [inside, table])[:2]] == ["table", "text"]
    assert inside not in [piece.region for piece in cuts(sheet.picture, [inside, table])]


def test_a_region_without_area_is_passed_over() -> None:
    pieces = cuts(PAGE.picture, [region("text", *BODY), region("figure", 300, 600, 300, 700)])
    assert [piece.region.kind for piece in pieces] == ["text", "text"]


def test_strips_are_the_lines_of_a_page_from_top_to_bottom() -> None:
    found = strips(PAGE.picture.rgb)
    assert len(found) == 11
    assert [box[1] for box in found] == sorted(box[1] for box in found)


def test_paper_and_noise_are_no_writing() -> None:
    white = Picture(rgb=np.full((400, 300, 3), 255, np.uint8))
    assert strips(white.rgb) == []
    shaded = np.linspace(90, 250, 300).astype(np.uint8)
    assert strips(np.broadcast_to(shaded[None, :, None], (400, 300, 3))) == []
    assert strips(photographed(Paper(image=blank(), text="")).picture.rgb) == []
    assert strips(faxed(Paper(image=blank(), text="")).picture.rgb) == []
