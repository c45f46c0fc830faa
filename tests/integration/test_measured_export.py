"""harness export --measure: the card has the files' own figures, and a stopped measurement continues."""

import json
import os
import signal
import subprocess
import sys
import time
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import address, needs_bitsandbytes, serving
from test_export_to_hub import TOKEN, Hub

from harness.metric_definitions import definition_of
from harness.models.checkpoints import locate
from harness.storage.files import read_journal, read_json
from harness.storage.run_folder import Run
from harness.types import AS_STORED
from train.export import llama_cpp

HARNESS = f"{sys.prefix}/bin/harness"


@pytest.fixture(scope="module")
def run(adapter, tmp_path_factory) -> Path:
    """A run that evaluated base and adapter on 12 problems, one reply after the other."""
    folder = tmp_path_factory.mktemp("run")
    command = [HARNESS, "run", "--adapter", adapter, "--limit", "12", "--engine-arg", "batch_size=1", "--output", "r"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "r"


def columns(card: Path) -> dict[str, list[str]]:
    """The cells of the card's table by metric."""
    lines = [line for line in card.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip().replace("\\", "") for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["metric", "before", "after", "these files", "difference", "95 % interval", "verdict"]
    return {name: others for name, *others in cells[1:]}


def shown(folder: Path) -> dict[str, str]:
    """Each metric's mean in a measured run folder, as a card shows it."""
    metrics = read_json(folder / "before/metrics.json")
    return {name: definition_of(name).show(each["mean"]) for name, each in metrics.items()}


def test_the_card_has_the_figures_of_the_measured_run(run, harness, tmp_path):
    from huggingface_hub import ModelCard

    Hub.seen = []
    command = ("export", run, "--to", "merged-16bit", "--measure", "--output", "x", "--json", "--push", "me/x", "--yes")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as server:
        done = harness(*command, HF_ENDPOINT=address(server), HF_HUB_OFFLINE="0", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "x"
    cells = columns(made / "README.md")
    assert {name: each[2] for name, each in cells.items()} == shown(made / "measured")
    metrics = read_json(made / "measured/before/metrics.json")
    results = {each.metric_type: each for each in ModelCard.load(made / "README.md").data.eval_results}
    assert all(each.metric_value == round(metrics[name]["mean"], 4) for name, each in results.items())
    assert not any("base + adapter" in each.metric_name for each in results.values())
    asked, now = Run.open(run).config, Run.open(made / "measured").config
    assert (now.checkpoint, now.adapter) == (str(made), None)
    assert all(
        getattr(now, key) == getattr(asked, key) for key in ("dataset", "split", "limit", "format", "sampling", "seed")
    )
    compared = json.loads(done.stdout)["measured"]["comparison"]
    assert compared["warnings"] == []
    assert {each["n_pairs"] for each in compared["metrics"].values()} == {12}
    # The replies that it was measured by stay here.
    sent = [json.loads(line) for line in Hub.seen[-1][2].splitlines()]
    files = {each["value"]["path"] for each in sent if each["key"] == "file"}
    assert files == {file.name for file in made.iterdir() if file.is_file()}


def test_it_is_the_files_that_are_measured_and_they_are_not_written_again(run, harness, tmp_path):
    """With the base's weights in the place of the merged ones its replies are the base's, and the card says so."""
    assert harness("export", run, "--to", "merged-16bit", "--output", "x").returncode == 0
    weights = tmp_path / "x/model.safetensors"
    base = (Path(locate("embedded")) / "model.safetensors").read_bytes()
    assert len(base) == weights.stat().st_size
    weights.write_bytes(base)
    done = harness("export", run, "--to", "merged-16bit", "--output", "x", "--measure")
    assert done.returncode == 0, done.stderr
    assert weights.read_bytes() == base
    cells = columns(tmp_path / "x/README.md")
    assert all(files == before for before, _, files, *_ in cells.values())
    before, after, files = cells["accuracy_flexible"][:3]
    assert before != after
    sentence = f"{after} with base + adapter, {files} with these files"
    assert sentence in " ".join(done.stdout.split())
    assert sentence in (tmp_path / "x/README.md").read_text()


def test_a_killed_measurement_continues_without_another_export(run, harness, tmp_path):
    command = [HARNESS, "export", str(run), "--to", "merged-16bit", "--measure", "--output", "x"]
    journal, weights = tmp_path / "x/measured/before/completions.jsonl", tmp_path / "x/model.safetensors"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ) as program:
        while not journal.is_file() or not journal.stat().st_size:
            time.sleep(0.02)
            assert program.poll() is None
        program.kill()
    assert program.returncode == -signal.SIGKILL
    written, kept = weights.stat().st_mtime_ns, read_journal(journal)
    done = harness(*command[1:])
    assert done.returncode == 0, done.stderr
    assert weights.stat().st_mtime_ns == written
    assert 0 < len(kept) < len(read_journal(journal)) == 12
    assert read_journal(journal)[: len(kept)] == kept
    card = (tmp_path / "x/README.md").read_bytes()
    assert harness(*command[1:]).returncode == 0
    assert (tmp_path / "x/README.md").read_bytes() == card
    without = harness("export", run, "--to", "merged-16bit", "--output", "x")
    assert (without.returncode, "has the measurement of the files that are there" in without.stderr) == (2, True)


@needs_bitsandbytes
def test_4_bits_are_measured_as_they_are_stored(run, program, tmp_path):
    # Not a fork, in which the OpenMP of bitsandbytes would wait for threads that it does not have.
    done = program("export", run, "--to", "merged-4bit", "--measure", "--output", "x")
    assert done.returncode == 0, done.stderr
    measured = tmp_path / "x/measured"
    assert {name: each[2] for name, each in columns(tmp_path / "x/README.md").items()} == shown(measured)
    assert read_json(measured / "run.json")["provenance"]["before"]["weights"] == AS_STORED
    assert any(before != files for _, before, files, *_ in columns(tmp_path / "x/README.md").values())


# In llama.cpp's place: writes a small GGUF file of random weights, whatever the model.
CONVERTER = """#!{python}
import pathlib, sys
sys.path.insert(0, {tests!r})
import gguf_files
gguf_files.write(pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1]))
"""


def test_the_first_gguf_is_measured_and_named(run, harness, tmp_path):
    """The file of a stand-in for the converter: what it writes is read, dequantized and evaluated for real."""
    pytest.importorskip("gguf")
    converter = tmp_path / "llama.cpp" / llama_cpp.CONVERTER
    converter.parent.mkdir()
    converter.write_text(CONVERTER.format(python=sys.executable, tests=str(Path(__file__).parent.parent)))
    command = ("export", run, "--to", "gguf", "--quant", "q8_0,f16", "--measure", "--output", "x")
    done = harness(*command, UNSLOTH_LLAMA_CPP_PATH=str(converter.parent))
    assert done.returncode == 0, done.stderr
    assert "measure it:" not in done.stdout
    made = tmp_path / "x"
    assert Run.open(made / "measured").config.checkpoint == str(made / "tiny-Q8_0.gguf")
    assert {name: each[2] for name, each in columns(made / "README.md").items()} == shown(made / "measured")
    card = (made / "README.md").read_text()
    assert "were measured in tiny-Q8\\_0.gguf alone" in card
    # Its chat template is another, so no two replies are to the same prompt.
    assert "- No reply has a partner among those of base + adapter." in card
    assert "the prompts differ" in card
    assert read_json(made / "export.json")["files"]["README.md"] == (made / "README.md").stat().st_size
