"""What is dropped in an inbox is nobody else's affair: no pipeline, nor a library of one, calls anybody."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from house import House, cut_clip
from papers import printed
from patience import patiently
from PIL import Image

from darkroom.pipelines import DISCREET
from darkroom.pipelines.animate import tiny

# A network of its own, with nobody in it. The kernel counts what somebody wished to send: datagrams, and calls of both
# kinds, that had nowhere to go.
COUNTED = """
"$@"; status=$?
awk '$1 == "Ip:" && $2 + 0 { print $11 + $13 } $1 == "Ip6OutRequests" || $1 == "Ip6OutNoRoutes" { print $2 }' \
    /proc/net/snmp /proc/net/snmp6 > "$CALLS"
exit $status
"""
ALONE = ("unshare", "--net", "sh", "-c", COUNTED, "sh")
CALLING = """
import socket
for where in [("192.0.2.1", 443), ("example.org", 443)]:
    try:
        socket.create_connection(where)
    except OSError:
        pass
"""
MORE = {
    "letters": ("ocr", {"outputs": ["txt"]}),
    "art": ("animate", {"size": "128x128", "frames": 5, "steps": 3}),
}


class Alone(House):
    program = (*ALONE, *House.program)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("models")).parent


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the counts will be; whoever does not ask for it writes to a home that is empty."""
    if subprocess.run([*ALONE[:2], "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network of its own can be had here")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    for name in (*DISCREET, "CI", "XDG_CACHE_HOME", "HF_HOME"):  # with CI some are discreet by themselves
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "calls"


def count(calls: Path) -> int:
    return sum(map(int, calls.read_text().split()))


def test_a_call_would_be_counted(calls: Path) -> None:
    patiently([*ALONE, sys.executable, "-c", CALLING], check=True)
    assert count(calls) > 0


def test_jobs_of_all_pipelines_call_nobody_and_leave_nothing_at_home(models: Path, calls: Path, tmp_path: Path) -> None:
    house = Alone(tmp_path / "house")
    (house.root / "models").symlink_to(models)
    with house.settings() as settings:
        (films,) = settings["folders"]
        for name, (pipeline, options) in MORE.items():
            settings["folders"].append(films | {"name": name, "inbox": name, "pipeline": pipeline, "options": options})
            (house.root / name).mkdir()
    cut_clip(house.inbox / "film.mp4", 8)
    printed("Dear neighbour", 14).image.save(house.root / "letters" / "letter.png", dpi=(200, 200))
    Image.new("RGB", (96, 64), (200, 80, 55)).save(house.root / "art" / "cat.png")
    (house.root / "art" / "cat.txt").write_text("a cat runs")
    assert house.drain() == os.EX_OK, house.lines
    assert set(house.results()) == {"film.mp4", "letter.txt", "cat.mp4"}
    assert count(calls) == 0
    assert not list((tmp_path / "home").rglob("*"))
