from pathlib import Path

import pytest
from PIL import Image

from darkroom.pipelines.animate.fit import fitted, load_image
from darkroom.pipelines.animate.sizes import Fit, Size
from darkroom.pipelines.errors import Rejected, Unavailable


def halves(width: int = 200, height: int = 100) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


def test_a_photo_is_upright_by_its_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    halves().save(tmp_path / "a.jpg", exif=exif)
    assert load_image(tmp_path / "a.jpg").size == (100, 200)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(("cut", "reason"), [(40, "damaged or not an image"), (0, "damaged or not an image")])
def test_what_is_no_image_is_refused(tmp_path: Path, cut: int, reason: str) -> None:
    halves().save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:cut])
    with pytest.raises(Rejected, match=rf"a\.png: {reason}"):
        load_image(tmp_path / "a.png")


def test_an_image_of_a_few_pixels_is_refused_and_one_that_is_gone_is_not_its_fault(tmp_path: Path) -> None:
    halves(8, 8).save(tmp_path / "a.png")
    with pytest.raises(Rejected, match="8x8 pixels; 16 a side are needed"):
        load_image(tmp_path / "a.png")
    with pytest.raises(Unavailable, match="is its disk there"):
        load_image(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("fit", "left", "top"),
    [("crop", "red", "red"), ("pad", "red", "black"), ("stretch", "red", "red"), ("keep", "red", "red")],
)
def test_each_way_of_fitting_gives_the_size(fit: Fit, left: str, top: str) -> None:
    image = fitted(halves(), Size(64, 64), fit)
    assert image.size == (64, 64)
    colors = {"red": (255, 0, 0), "blue": (0, 0, 255), "black": (0, 0, 0)}
    assert image.getpixel((1, 32)) == colors[left]
    assert image.getpixel((1, 1)) == colors[top]
    assert image.getpixel((62, 32)) == colors["blue"]
