"""For the tests of tiny models: the models, an image, and one thread, for several wait longer than they compute."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from darkroom.pipelines.animate import tiny


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models")).parent


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(tmp_path / "cat.png")
    return tmp_path / "cat.png"
