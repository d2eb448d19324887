import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_S

from darkroom.pipelines.learned import Learned

CARD = "NVIDIA A100"


def never() -> float:
    raise AssertionError("it was measured again")


@pytest.fixture
def learned(tmp_path: Path) -> Learned:
    return Learned(tmp_path / "learned.json")


def test_a_pace_is_measured_once_and_then_kept(learned: Learned) -> None:
    assert learned.pace(CARD, "bf16", lambda: 251.23456) == 251.2
    assert learned.pace(CARD, "bf16", never) == 251.2
    assert Learned(learned.path).pace(CARD, "bf16", never) == 251.2


def test_each_device_and_precision_has_its_own_pace(learned: Learned) -> None:
    paces = [
        learned.pace(CARD, "bf16", lambda: 250),
        learned.pace(CARD, "fp32", lambda: 20),
        learned.pace("CPU", "fp32", lambda: 0.1),
    ]
    assert paces == [250, 20, 0.1]


def test_the_last_rung_is_remembered_by_size_scale_and_device(learned: Learned) -> None:
    learned.keep_rung(CARD, 640, 360, 4, {"tile": 256})
    learned.keep_rung(CARD, 640, 360, 4, {"tile": 128})
    assert learned.rung(CARD, 640, 360, 4) == {"tile": 128}
    assert (
        learned.rung(CARD, 640, 360, 2) is learned.rung(CARD, 360, 640, 4) is learned.rung("CPU", 640, 360, 4) is None
    )


def test_how_frames_of_a_size_were_run_last_is_told(learned: Learned) -> None:
    assert learned.ran(CARD, 640, 360, 4) == ""
    learned.keep_ran(CARD, 640, 360, 4, "whole frames")
    learned.keep_ran(CARD, 640, 360, 4, "tiles of 256")
    learned.keep_ran(CARD, 640, 360, 2, "whole frames")
    assert Learned(learned.path).ran(CARD, 640, 360, 4) == "tiles of 256"
    assert learned.rung(CARD, 640, 360, 4) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b"\xff\xfe", b'{"pace": 3, "rungs": {"NVIDIA A100": []}}'])
def test_a_damaged_file_is_learned_again(learned: Learned, damage: bytes) -> None:
    learned.path.write_bytes(damage)
    assert learned.rung(CARD, 640, 360, 4) is None
    assert learned.pace(CARD, "bf16", lambda: 250) == 250
    learned.keep_rung(CARD, 640, 360, 4, {"tile": 256})
    assert Learned(learned.path).pace(CARD, "bf16", never) == 250
    assert Learned(learned.path).rung(CARD, 640, 360, 4) == {"tile": 256}


@pytest.mark.parametrize("nonsense", ['"fast"', "true", "-1", "0", "null", "NaN", "1e99"])
def test_a_pace_that_is_none_is_measured_again(learned: Learned, nonsense: str) -> None:
    learned.path.write_text(f'{{"pace": {{"{CARD}": {{"bf16": {nonsense}}}}}}}')
    assert learned.pace(CARD, "bf16", lambda: 250) == 250
    assert learned.pace(CARD, "bf16", never) == 250


def test_what_others_wrote_is_left_alone(learned: Learned) -> None:
    learned.path.write_text(json.dumps({"fans": {"loud": True}, "pace": {"CPU": {"fp8": 1}}}))
    learned.pace(CARD, "bf16", lambda: 250)
    learned.keep_rung(CARD, 640, 360, 4, {"tile": 256})
    taught = json.loads(learned.path.read_text())
    assert taught["fans"] == {"loud": True}
    assert taught["pace"] == {"CPU": {"fp8": 1}, CARD: {"bf16": 250}}


def test_a_folder_that_cannot_be_written_costs_the_memory_and_not_the_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learned = Learned(tmp_path / "missing" / "learned.json")
    with caplog.at_level(logging.WARNING):
        assert learned.pace(CARD, "bf16", lambda: 250) == 250
        learned.keep_rung(CARD, 640, 360, 4, {"tile": 256})
    assert learned.rung(CARD, 640, 360, 4) is None
    assert "cannot be written" in caplog.text


def test_a_measurement_that_fails_leaves_the_file_as_it_was(learned: Learned) -> None:
    learned.pace(CARD, "bf16", lambda: 250)
    before = learned.path.read_bytes()
    with pytest.raises(AssertionError, match="measured again"):
        learned.pace(CARD, "fp16", never)
    assert learned.path.read_bytes() == before


KEEP_MANY = """
import sys
from pathlib import Path
from darkroom.pipelines.learned import Learned
for size in range(40):
    Learned(Path(sys.argv[1])).keep_rung(sys.argv[2], size, size, 4, {"tile": size})
"""


def test_workers_that_write_at_once_lose_nothing(learned: Learned) -> None:
    commands = [[sys.executable, "-P", "-c", KEEP_MANY, str(learned.path), f"cuda:{index}"] for index in range(3)]
    workers = [subprocess.Popen(command) for command in commands]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0, 0]
    taught = json.loads(learned.path.read_text())["rungs"]
    assert {device: len(rungs) for device, rungs in taught.items()} == {f"cuda:{index}": 40 for index in range(3)}
    assert [path.name for path in learned.path.parent.glob("*.draft")] == []
