from pathlib import Path

import pytest

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.importing import alone, check_space, sync


def test_of_two_imports_to_one_folder_the_second_is_sent_away(tmp_path: Path) -> None:
    second = pytest.raises(Unavailable, match="another import is writing here; wait for its end")
    with alone(tmp_path), second, alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_room_is_looked_for_before_it_is_taken(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(Unavailable, match=r"GB free and 1000000\.0 GB needed; make room"):
        check_space(tmp_path, 10**15)


def test_files_and_folders_can_be_brought_to_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    sync(tmp_path / "a")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "b")
