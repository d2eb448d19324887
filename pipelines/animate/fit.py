"""The image as the first frame: its shape brought to the video's, or kept by bars"""

from pathlib import Path

from PIL import Image, ImageOps

from darkroom.pipelines.animate.sizes import Fit, Size
from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.image_file import check_size, opened_image

SMALLEST = 16  # pixels a side of an image; less shows nothing


def load_image(path: Path) -> Image.Image:
    """Give the image at `path`, upright by its EXIF, RGB, transparency on white.

    Raises Rejected where it is no image or cut off, Unavailable where it cannot be reached.
    """
    with opened_image(path) as image:
        check_size(path, image)
        image.load()
        upright = ImageOps.exif_transpose(image)
    if min(upright.size) < SMALLEST:
        raise Rejected(f"{path.name}: {upright.width}x{upright.height} pixels; {SMALLEST} a side are needed")
    if upright.has_transparency_data:
        seen = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return upright.convert("RGB")


def fitted(image: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """Give `image` at `size`: keep and stretch by resizing (keep's size has the image's shape already), crop by
    cutting what is over, pad by black bars.
    """
    wanted = (size.width, size.height)
    if fit == "crop":
        return ImageOps.fit(image, wanted, Image.Resampling.LANCZOS)
    if fit == "pad":
        return ImageOps.pad(image, wanted, Image.Resampling.LANCZOS, color="black")
    return image.resize(wanted, Image.Resampling.LANCZOS)
