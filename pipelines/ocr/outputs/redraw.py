"""A page replaced by a picture of itself"""

import io

from pikepdf import Array, Dictionary, Name, Object, Page, Pdf

from darkroom.pipelines.ocr.affine import Affine
from darkroom.pipelines.ocr.outputs.embed import QUALITY, reduced
from darkroom.pipelines.ocr.picture import Pixels

GONE = (Name.Group, Name.StructParents, Name.B, Name.PieceInfo, Name.Thumb)  # they speak of the old content


def redraw(pdf: Pdf, page: Page, rgb: Pixels, to_page: Affine) -> None:
    """Make `rgb` all that `page` shows; its boxes, rotation and links stay.

    rgb:     uint8 [H, W, 3], the page as it is shown, with what is annotated on it
    to_page: from its pixels to the page's points
    """
    height, width = rgb.shape[:2]
    corner = to_page.point((0, height))
    across, up = to_page.vector((width, 0)), to_page.vector((0, -height))
    matrix = " ".join(f"{value:.4f}" for value in (*across, *up, *corner))
    page.obj.Contents = pdf.make_stream(f"q {matrix} cm /Page Do Q\n".encode())
    page.obj.Resources = Dictionary(XObject=Dictionary(Page=_image(pdf, rgb)))
    if Name.Annots in page.obj:
        links = [annotation for annotation in page.obj.Annots if annotation.get(Name.Subtype) == Name.Link]
        page.obj.Annots = Array(links)
    for key in GONE:
        if key in page.obj:
            del page.obj[key]


def _image(pdf: Pdf, rgb: Pixels) -> Object:
    image = reduced(rgb)
    facts = Dictionary(Type=Name.XObject, Subtype=Name.Image, Width=image.width, Height=image.height)
    if image.mode == "1":
        facts.ColorSpace, facts.BitsPerComponent = Name.DeviceGray, 1
        return pdf.make_stream(image.tobytes(), facts)  # packed rows; saving compresses them without loss
    facts.ColorSpace, facts.BitsPerComponent = Name.DeviceGray if image.mode == "L" else Name.DeviceRGB, 8
    facts.Filter = Name.DCTDecode
    written = io.BytesIO()
    image.save(written, "JPEG", quality=QUALITY)
    return pdf.make_stream(written.getvalue(), facts)
