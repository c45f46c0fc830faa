"""The model card of an export, and its way to the hub."""

import json
import os
import pty
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conftest import address, serving

from harness.models.checkpoints import locate
from harness.storage.files import read_json, write_json
from harness.storage.run_folder import Run
from train.export import Export
from train.export.card import model_card

TOKEN = "hf_secretsecretsecret"


def test_a_run_s_card_shows_what_was_measured(job, harness):
    from huggingface_hub import ModelCard

    done = harness("export", job, "--to", "lora", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.strip().split("\n")[-1])
    assert said["output"] == str(job / "export/lora")
    assert said["files"]["adapter_model.safetensors"] == (job / "export/lora/adapter_model.safetensors").stat().st_size
    card = ModelCard.load(job / "export/lora/README.md")
    metrics = read_json(job / "after/metrics.json")
    results = {each.metric_type: each for each in card.data.eval_results}
    assert results.keys() == {name for name in metrics if not name.startswith("reward/")}
    assert all(each.metric_value == round(metrics[name]["mean"], 4) for name, each in results.items())
    assert (results["tokens"].dataset_name, results["tokens"].dataset_split) == ("word-problems", "test")
    assert (card.data.library_name, card.data.tags, card.data.language) == ("peft", ["lora", "grpo"], ["en"])
    compared = read_json(job / "comparison.json")["metrics"]
    rows = {line.split(" | ")[0]: line for line in card.text.split("\n") if line.startswith("| ")}
    row = f"| {compared['tokens']['before']:.2f} | {compared['tokens']['after']:.2f} | "
    assert row in rows["| tokens"]
    assert len(rows) == len(compared) + 1
    assert "4 problems" in card.text
    assert f"\n    {read_json(job / 'run.json')['command']}\n" in card.text
    assert "- steps: 2\n" in card.text


def test_without_a_run_the_card_says_how_to_measure(adapter, harness):
    done = harness("export", "--model", "tiny", "--adapter", adapter, "--to", "lora", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("export: export/tiny-lora\n")
    text = Path("export/tiny-lora/README.md").read_text()
    assert "What the adapter changes was not measured" in text
    assert "harness run --model BASE --adapter ADAPTER" in text
    assert "model-index" not in text


def test_a_card_names_no_place_of_this_machine_and_all_that_trained(job, tmp_path):
    shutil.copytree(job, tmp_path / "r")
    record = read_json(tmp_path / "r/run.json")
    record["configuration"] |= {"sft_dataset": "openmath-mini", "rewards": "/home/me/mine.py"}
    record["command"] = "harness run --model /home/me/model --data ~/sums.jsonl --set rewards=/home/me/mine.py me/x"
    write_json(tmp_path / "r/run.json", record)
    made = Export("x", "embedded", "a", "lora", (), Run.open(tmp_path / "r"), "")
    card = model_card(made, {})
    assert "harness run --model model --data sums.jsonl --set rewards=mine.py me/x" in card
    assert ("- rewards: mine.py\n" in card, "- sft_dataset: openmath-mini\n" in card) == (True, True)
    assert "/home" not in card
    assert "unsloth/OpenMathReasoning-mini" in card


def test_a_hub_s_model_takes_its_recipe_s_chat_template(adapter, harness, tmp_path):
    model = shutil.copytree(locate("embedded"), tmp_path / "model")
    done = harness(
        "export", "--model", model, "--recipe", "qwen3-8b", "--adapter", adapter, "--to", "lora", "--output", "x"
    )
    assert done.returncode == 0, done.stderr
    assert "start_working_out" in (tmp_path / "x/chat_template.jinja").read_text()


def test_nothing_is_uploaded_unless_the_user_says_so(job, harness, tmp_path):
    command = ("export", job, "--to", "lora", "--output", "x", "--push", "me/tiny")
    piped = subprocess.run(
        [f"{sys.prefix}/bin/harness", *map(str, command)], env=os.environ | {"HF_TOKEN": TOKEN},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (piped.returncode, piped.stderr) == (
        2,
        "harness: --push me/tiny: there is no terminal to confirm it on: add --yes\n",
    )
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")
    asked = subprocess.run(
        [f"{sys.prefix}/bin/harness", *map(str, command)], env=os.environ | {"HF_TOKEN": TOKEN},
        stdin=theirs, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 2
    assert "Upload to me/tiny on the hub? [y/N]" in asked.stderr
    assert asked.stderr.endswith("not uploaded, nothing written: leave --push out to export alone\n")
    assert not (tmp_path / "x").exists()
    os.write(ours, b"\x04")
    left = subprocess.run(
        [f"{sys.prefix}/bin/harness", *map(str, command)], env=os.environ | {"HF_TOKEN": TOKEN},
        stdin=theirs, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (left.returncode, "Traceback" in left.stderr) == (130, False)


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload of small files asks for."""

    seen: list[tuple[str, str, bytes]]

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers["Authorization"], content))
        here = f"http://{self.headers['Host']}/me/tiny"
        said = {"success": True, "url": here, "commitOid": "0" * 40, "commitUrl": f"{here}/commit/{'0' * 40}"}
        if "/preupload/" in self.path:
            said["files"] = [
                {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                for each in json.loads(content)["files"]
            ]
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_push_uploads_the_folder_and_shows_the_token_to_nobody(job, harness, tmp_path):
    Hub.seen = []
    command = ("export", job, "--to", "lora", "--output", "x", "--push", "me/tiny", "--yes")
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as server:
        done = harness(*command, HF_ENDPOINT=address(server), HF_HUB_OFFLINE="0", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    made, *_, (path, _, committed) = Hub.seen
    assert (made[0], json.loads(made[2])["name"]) == ("/api/repos/create", "tiny")
    assert json.loads(made[2]).get("private") or json.loads(made[2]).get("visibility") == "private"
    assert path == "/api/models/me/tiny/commit/main"
    sent = [json.loads(line) for line in committed.splitlines()]
    assert {each["value"]["path"] for each in sent if each["key"] == "file"} == {
        file.name for file in (tmp_path / "x").iterdir()
    }
    assert {key for _, key, _ in Hub.seen} == {f"Bearer {TOKEN}"}
    down = harness(*command, HF_ENDPOINT=address(server), HF_HUB_OFFLINE="0", HF_TOKEN=TOKEN)
    assert down.returncode == 2
    assert down.stderr.splitlines()[-1].startswith("harness: --push me/tiny: the hub refuses")
    written = b"".join(file.read_bytes() for file in (tmp_path / "x").iterdir())
    assert TOKEN not in done.stdout + done.stderr + down.stdout + down.stderr
    assert TOKEN.encode() not in written
