"""Training among several processes: the same curve as one, and a worker may die."""

import csv
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_fit import RECIPE, run

from sfumato.model import StyleModel
from train import fit
from train.fit import STATE
from train.recipe import FitPhase

# Held statistics: else each worker normalises by those of its share of the batch. A low
# rate: Adam makes whole steps of what rounding leaves of a gradient that is zero.
SHARED = dataclasses.replace(
    RECIPE,
    optimizer=dataclasses.replace(RECIPE.optimizer, learning_rate=2e-4),
    phases=(FitPhase(32, batch=4, steps=24, frozen_statistics=True, psi=(0.7, 1.0)),),
)
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_workers import SHARED, run
from train import fit
from train.run import TrainingError
content, style, out, resume = sys.argv[2:]
fit.faster_precision = lambda: "float32"
try:
    run(SHARED, (Path(content), Path(style)), Path(out), resume=bool(resume),
        log_every=4, save_every=4)
except TrainingError as error:
    sys.exit(str(error))
"""
# Until TensorFlow is loaded and the workers have met, on a busy machine.
PATIENCE = 600

Workers = list[subprocess.Popen[str]]


@pytest.fixture
def started() -> Iterator[Workers]:
    """Processes to end with the test."""
    workers: Workers = []
    yield workers
    for worker in workers:
        worker.kill()
        worker.wait()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [open_socket.getsockname()[1] for open_socket in sockets]
    for open_socket in sockets:
        open_socket.close()
    return ports


def start_two(started: Workers, images: tuple[Path, Path], out: Path, resume: str):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = {"cluster": {"worker": addresses}, "task": task}
        arguments = [Path(__file__).parent, *images, out, resume]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, *map(str, arguments)],
                env=os.environ | {"TF_CONFIG": json.dumps(cluster)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started[-2:]


def losses(out: Path) -> dict[str, float]:
    with (out / "log.csv").open() as file:
        return {row["step"]: float(row["loss"]) for row in csv.DictReader(file)}


def test_two_workers_train_like_one_and_resume_when_one_was_killed(
    folders, tmp_path, started, monkeypatch
):
    # The faster precision may be another at another moment.
    monkeypatch.setattr(fit, "faster_precision", lambda: "float32")
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert run(SHARED, folders, alone, log_every=4, save_every=24)

    chief, other = start_two(started, folders, together, "")
    until = time.monotonic() + PATIENCE
    while not (together / STATE).exists():
        assert chief.poll() is None, chief.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    other.kill()
    _, complaint = chief.communicate(timeout=PATIENCE)
    assert chief.returncode == 1
    assert "Start all workers again with --resume" in complaint
    assert "Traceback" not in complaint
    steps = StyleModel.load(together / "model").manifest["training"]["steps"]
    assert 4 <= steps < 24

    for worker in start_two(started, folders, together, "resume"):
        _, complaint = worker.communicate(timeout=PATIENCE)
        assert worker.returncode == 0, complaint
    assert StyleModel.load(together / "model").manifest["training"]["steps"] == 24
    one, two = losses(alone), losses(together)
    assert list(two) == list(one) == ["4", "8", "12", "16", "20", "24"]
    # Sums are taken in another order, which 24 steps of training amplify.
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-3)
