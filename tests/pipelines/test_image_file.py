import os
from pathlib import Path

import pytest
from documents import scan
from PIL import Image

from darkroom.pipelines import image_file as module
from darkroom.pipelines.errors import Rejected, Unavailable
from darkroom.pipelines.image_file import check_bytes, check_size, opened_image


def test_an_image_is_open_within_the_block(tmp_path: Path) -> None:
    with opened_image(scan(tmp_path / "a.png", width=30, height=20)) as image:
        assert image.size == (30, 20)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Failed to decode frame 0"), "Failed to decode frame 0"),  # of AVIF
        (TypeError("Missing dimensions"), "Missing dimensions"),  # of TIFF
        (KeyError(339), "KeyError"),
        (SyntaxError("broken\nPNG file"), "broken PNG file"),
        (OSError("image file is truncated"), "image file is truncated"),
    ],
)
def test_whatever_is_raised_on_the_way_is_the_files_fault_in_one_line(
    error: Exception, said: str, tmp_path: Path
) -> None:
    with pytest.raises(Rejected) as caught, opened_image(scan(tmp_path / "a.png")):
        raise error
    assert str(caught.value) == f"a.png: damaged or not an image ({said}); save it anew"


def test_what_the_daemon_knows_how_to_answer_passes_as_it_is(tmp_path: Path) -> None:
    for error in (Rejected("no"), Unavailable("later")):
        with pytest.raises(type(error)) as caught, opened_image(scan(tmp_path / "a.png")):
            raise error
        assert caught.value is error


def test_a_number_that_asks_for_more_memory_than_there_is_is_the_files_fault(tmp_path: Path) -> None:
    told = pytest.raises(Rejected, match=r"^a\.png: asks for more memory than there is; scale it down or save it anew$")
    with told, opened_image(scan(tmp_path / "a.png")):
        raise MemoryError


def test_the_path_is_told_by_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(Rejected) as caught, opened_image(tmp_path / "a.png", "no image"):
        pass
    assert str(caught.value) == "a.png: no image (cannot identify image file 'a.png'); save it anew"


def test_a_file_that_cannot_be_reached_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"gone\.png: cannot be read"), opened_image(tmp_path / "gone.png"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_the_machines_fault(tmp_path: Path) -> None:
    scan(tmp_path / "a.png").chmod(0)
    with pytest.raises(Unavailable, match="Permission denied"), opened_image(tmp_path / "a.png"):
        pass


def test_a_picture_of_more_pixels_than_can_be_decoded_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEEPEST_PIXELS", 2_000_000)
    check_size(tmp_path / "a.png", Image.new("1", (2000, 1000)))
    with pytest.raises(Rejected, match=r"^a\.png: 2000x1001 pixels, over 2 million; scale it down$"):
        check_size(tmp_path / "a.png", Image.new("1", (2000, 1001)))


def test_a_bomb_is_rejected_with_what_it_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    told = pytest.raises(Rejected, match=r"^a\.png: too large to be decoded .*600 pixels.*; scale it down$")
    with told, opened_image(scan(tmp_path / "a.png", width=30, height=20)):
        pass


def test_a_file_too_long_to_be_read_is_rejected_without_reading_it(tmp_path: Path) -> None:
    scan(tmp_path / "a.png")
    os.truncate(tmp_path / "a.png", 2**40)  # it takes no room: the rest is a hole
    with pytest.raises(Rejected, match=r"^a\.png: 1,099,511,627,776 bytes, over 4,294,967,296; split it"):
        check_bytes(tmp_path / "a.png")
    with pytest.raises(Unavailable, match=r"gone\.png: cannot be read"):
        check_bytes(tmp_path / "gone.png")
