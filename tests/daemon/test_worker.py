import os
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import pytest
import yaml
from house import cut_clip
from patience import PATIENCE_S

from darkroom import pipelines
from darkroom.daemon.config import Config, load
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.marker import INBOX, OUTBOX, adopt
from darkroom.daemon.states import State
from darkroom.daemon.wishes import add
from darkroom.daemon.worker import preload

# A worker that knows one more pipeline: a toy that loads its model ahead.
WARM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from darkroom import pipelines
from darkroom.daemon.worker import main
pipelines.KINDS["warm"] = pipelines.Kind(
    name="warm", summary="", options="toys:WarmOptions", pipeline="toys:Warm", suffixes=frozenset()
)
main(sys.argv[1:])
"""
WORKER = [sys.executable, "-P", "-m", "darkroom.daemon.worker"]


def write_config(root: Path) -> Path:
    entry = {"name": "films", "pipeline": "upscale", "inbox": "in", "outbox": "out", "options": {"model": "fast"}}
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump({"folders": [entry], "worker": {"threads": 1}}))
    return path


def test_a_worker_runs_what_it_is_given_by_the_configuration_it_is_given_and_leaves_when_the_pipe_closes(
    tmp_path: Path,
) -> None:
    path = write_config(tmp_path)
    config = load(path)
    config.state.mkdir()
    folder = config.folders[0]
    adopt(folder.inbox, INBOX)
    adopt(folder.outbox, OUTBOX)
    film = cut_clip(tmp_path / "in" / "film.mp4", 8)
    with Journal(config.state / FILE) as journal:
        add(journal, folder, config.watch, film, {}, now=1.0)
        job = journal.claim(["films"], now=1.0, uptime=0.0, boot="boot")
        assert job is not None
        ours, theirs = Pipe()
        command = [*WORKER, str(path), "cpu", str(theirs.fileno()), str(os.getpid())]
        worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
        theirs.close()
        ours.send({"config": config})
        path.write_text("edited since, and: [not well")
        ours.send({"claimed": job.id})
        messages = []
        while "ended" not in (message := ours.recv()):
            messages.append(message)
        assert Path(f"/proc/{worker.pid}/oom_score_adj").read_text() == "500\n", "the kernel would take the daemon"
        assert journal.job(job.id).state is State.DONE
        ours.close()
        log = worker.communicate(timeout=PATIENCE_S)[1]
    assert worker.returncode == 0
    assert "1 threads" in log
    assert any(message.get("done") == 8 for message in messages)


def test_a_worker_whose_supervisor_is_gone_does_not_begin(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    gone = subprocess.run([*WORKER, str(path), "cpu", "0", "999999999"], capture_output=True, text=True, check=False)
    assert gone.returncode == 1
    assert "the supervisor ended while this process was starting" in gone.stderr


def test_a_worker_that_is_seen_off_before_it_began_leaves_without_a_word(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    command = [*WORKER, str(write_config(tmp_path)), "cpu", str(theirs.fileno()), str(os.getpid())]
    worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
    theirs.close()
    ours.close()
    assert worker.communicate(timeout=PATIENCE_S)[1] == ""
    assert worker.returncode == 0


def test_a_worker_loads_the_models_of_its_folders_by_their_priority_and_outlives_those_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        pipelines.KINDS,
        "warm",
        pipelines.Kind(name="warm", summary="", options="toys:WarmOptions", pipeline="toys:Warm", suffixes=frozenset()),
    )
    wanted = {"high": 9, "broken": 3, "low": 0, "missing": 2}
    folders = [
        {"name": model, "pipeline": "warm", "inbox": f"/{model}", "outbox": f"/to/{model}"}
        | {"options": {"model": model}, "priority": priority}
        for model, priority in wanted.items()
    ]
    config = Config.model_validate({"state": str(tmp_path), "folders": folders, "worker": {"preload": True}})
    ours, theirs = Pipe()
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-P", "-c", WARM, tests, "config.yaml", "cpu", str(theirs.fileno()), str(os.getpid())]
    worker = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
    theirs.close()
    ours.send({"config": config})
    heard = [ours.recv() for _ in range(2 * len(wanted))]
    ours.close()
    log = worker.communicate(timeout=PATIENCE_S)[1]
    assert [message["what"] for message in heard if "what" in message] == ["low on cpu", "", "", "high on cpu"]
    assert [message["stage"] for message in heard[::2]] == [
        f"loading the model of {name}" for name in ("low", "missing", "broken", "high")
    ]
    assert worker.returncode == 0
    assert "missing: its model cannot be loaded ahead: no weights in the folder; get them" in log
    assert log.count("Traceback") == 1 and "ZeroDivisionError: a bug" in log


def test_a_job_that_waits_is_not_kept_waiting_by_models_of_other_folders() -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        ours.send({"claimed": 1})
        folders = [{"name": "films", "pipeline": "upscale", "inbox": "/in", "outbox": "/out"}]
        config = Config.model_validate({"folders": folders, "worker": {"preload": True}})
        preload(config, "cpu", theirs)
        assert not ours.poll()
