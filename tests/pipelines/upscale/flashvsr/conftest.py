from pathlib import Path

import pytest

from darkroom.pipelines.tiny_models import write


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both versions as tiny random models in the published layout."""
    folder = tmp_path_factory.mktemp("models")
    write(folder, "1")
    write(folder, "1.1")
    return folder
