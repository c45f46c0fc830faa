import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config import Configuration, configure
from harness.datasets import settle_split


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """Run the command line in an empty folder, as a user's process: harness("eval", …) -> CompletedProcess."""
    monkeypatch.chdir(tmp_path)
    program = Path(sys.executable).parent / "harness"

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=os.environ | environment,
        )

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test finds the baselines of another, or of the user."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real datasets, where the machine has it."""
    folder = os.environ.get("HARNESS_TEST_DATA")
    if not folder:
        pytest.skip("HARNESS_TEST_DATA names no folder of real datasets")
    return Path(folder)


def configuration(*settings: str, trains: bool = False, **options) -> Configuration:
    return settle_split(configure("tiny", None, options, list(settings)), trains)


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
