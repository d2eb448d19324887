import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.pipelines.ocr.picture import Pixels
from darkroom.pipelines.ocr.vl.request import PROMPTS, SENT_PIXELS, Block, data_url, request_body

CAPTURED = Path(__file__).parents[3] / "goldens" / "ocr_vl" / "real_client_request.json"


def page(height: int = 40, width: int = 60) -> Pixels:
    rgb = np.full((height, width, 3), 255, np.uint8)
    rgb[height // 4 : height // 2, width // 4 : width // 2] = (200, 30, 60)
    return rgb


def without_image(body: dict[str, Any]) -> dict[str, Any]:
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    copy: dict[str, Any] = json.loads(json.dumps(body))
    copy["messages"][0]["content"][0]["image_url"]["url"] = url.partition(",")[0]
    return copy


def decoded(url: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


def test_the_request_is_that_of_the_real_client_up_to_the_bytes_of_the_picture() -> None:
    captured = json.loads(CAPTURED.read_text())["body"]
    ours = request_body("PaddleOCR-VL-0.9B", Block(task="text", rgb=page()), "jpeg")
    assert without_image(ours) == without_image(captured)
    assert [part["type"] for part in ours["messages"][0]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize("task", PROMPTS)
def test_each_task_has_its_prompt(task: Any) -> None:
    body = request_body("m", Block(task=task, rgb=page()), "jpeg")
    assert body["messages"][0]["content"][1]["text"] == PROMPTS[task]
    assert len(set(PROMPTS.values())) == len(PROMPTS)


def test_the_picture_is_a_jpeg_close_to_the_block() -> None:
    url = data_url(page())
    assert url.startswith("data:image/jpeg;base64,/9j/")
    assert np.abs(np.array(decoded(url), dtype=int) - page()).mean() < 2


def test_png_is_exact() -> None:
    url = data_url(page(), "png")
    assert url.startswith("data:image/png;base64,")
    assert (np.array(decoded(url)) == page()).all()


def test_a_huge_block_is_scaled_down_in_proportion() -> None:
    image = decoded(data_url(page(2000, 4000)))
    assert 0.98 * SENT_PIXELS < image.width * image.height <= SENT_PIXELS
    assert image.width / image.height == pytest.approx(2, rel=0.01)


def test_a_block_of_ordinary_size_keeps_its_pixels() -> None:
    assert decoded(data_url(page(1500, 2000))).size == (2000, 1500)
