"""What the model is asked: a block as a picture, and the prompt of its task, as PaddleOCR's own client asks"""

import base64
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

from PIL import Image

from darkroom.pipelines.ocr.picture import Pixels

Task = Literal["text", "table", "formula", "chart", "seal"]

PROMPTS: dict[Task, str] = {
    "text": "OCR:",
    "table": "Table Recognition:",
    "formula": "Formula Recognition:",
    "chart": "Chart Recognition:",
    "seal": "Seal Recognition:",  # from 1.5 on
}
FEWEST_PIXELS, MOST_PIXELS = 112_896, 1_003_520  # what the model sees of a block: 144 to 1280 patches of 28x28
LONGEST_ANSWER = 4096  # tokens
SENT_PIXELS = 4 * MOST_PIXELS  # more only makes the request large: servers answer 413
JPEG_QUALITY = 95

Encoding = Literal["jpeg", "png"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """A piece of a page and what is to be read in it."""

    task: Task
    rgb: Pixels


def request_body(model: str, block: Block, image: Encoding) -> dict[str, Any]:
    """Give the request for `block` as JSON values: the picture first, then the prompt."""
    return {
        "model": model,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": data_url(block.rgb, image)}},
                    {"type": "text", "text": PROMPTS[block.task]},
                ],
            }
        ],
        "temperature": 0,
        "max_completion_tokens": LONGEST_ANSWER,
        "skip_special_tokens": True,
        "mm_processor_kwargs": {"min_pixels": FEWEST_PIXELS, "max_pixels": MOST_PIXELS},
    }


def data_url(rgb: Pixels, image: Encoding = "jpeg") -> str:
    """Give `rgb`, [H, W, 3], as a data URL, scaled down where it is far larger than what the model sees."""
    picture = Image.fromarray(rgb)
    if (pixels := picture.width * picture.height) > SENT_PIXELS:
        scale = (SENT_PIXELS / pixels) ** 0.5
        size = max(1, int(picture.width * scale)), max(1, int(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    out = BytesIO()
    picture.save(out, image, quality=JPEG_QUALITY)
    return f"data:image/{image};base64,{base64.b64encode(out.getvalue()).decode()}"
