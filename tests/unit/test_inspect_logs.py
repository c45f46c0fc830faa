"""Logs of inspect_ai: what a row of one says, how grade and compare take it, and damaged or hostile ones."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import write_jsonl

from harness.data import inspect_logs
from harness.data.samples import read_samples
from harness.errors import UserError
from harness.evaluation.sides import Reading, load
from harness.storage.files import read_journal

# Written by inspect_ai 0.3.285 with its mockllm/model: two samples, two epochs, compressed with Zstandard.
REAL = Path(__file__).with_name("inspect_ai.eval")
SAMPLE = {
    "id": 1, "epoch": 1, "input": "How many is 24 and 24?", "target": "48", "metadata": {"gold": "48"},
    "output": {"choices": [{"message": {"role": "assistant", "content": "48"}, "stop_reason": "stop"}]},
}  # fmt: skip
HEAD = {"version": 2, "status": "success", "eval": {"task": "sums"}}


def answered(content: object, stop_reason: str = "stop") -> dict:
    return {"output": {"choices": [{"message": {"role": "assistant", "content": content}, "stop_reason": stop_reason}]}}


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def log_of(path: Path, samples: list[dict]) -> Path:
    """A log of either kind, as inspect_ai lays it out."""
    if path.suffix == ".json":
        path.write_text(json.dumps(HEAD | {"samples": samples}, indent=2))
        return path
    names = [f"samples/{each['id']}_epoch_{each['epoch']}.json" for each in samples]
    members = {name: json.dumps(each).encode() for name, each in zip(names, samples, strict=True)}
    return zipped(path, {"header.json": json.dumps(HEAD).encode()} | members)


def grade(command, source: Path, *options: str) -> tuple[int, str, list[dict]]:
    out = source.with_name("out.jsonl")
    code, said = command(
        "grade", "--dataset", "gsm8k", "--format", "think", "--input", source, "--output", out, *options
    )
    return code, said, read_journal(out) if code == 0 else []


def test_a_real_log_is_graded_epoch_by_epoch(command, tmp_path):
    code, said, rows = grade(command, shutil.copy(REAL, tmp_path / "sums.eval"))
    assert code == 0, said
    assert [(row["id"], row["epoch"], row["index"], row["target"]) for row in rows] == [
        (2, 1, 0, "6"), ("one/a", 1, 0, "48"), (2, 2, 1, "6"), ("one/a", 2, 1, "48"),
    ]  # fmt: skip
    # "3 and" was cut off: its 3 is no answer. The second reply to one/a has its reasoning in a part of its own.
    assert [row["extracted"] for row in rows] == [None, "48", "7", "48"]
    assert [row["scores"]["accuracy_strict"] for row in rows] == [0, 1, 0, 1]
    assert [row["finish_reason"] for row in rows] == ["length", "stop", "stop", "stop"]
    assert rows[3]["completion"] == "<think>\n24 and 24\n</think>\n\nIt is 48."


@pytest.mark.parametrize("suffix", [".eval", ".json"])
@pytest.mark.parametrize(
    ("change", "completion", "finish_reason"),
    [
        ({}, "48", "stop"),
        (answered("4", "max_tokens"), "4", "length"),
        (answered("4", "model_length"), "4", "length"),
        (answered([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "a\nb", "stop"),
        (answered([{"type": "reasoning", "reasoning": "r"}, {"type": "text", "text": "a"}]),
         "<think>\nr\n</think>\n\na", "stop"),
        (answered([{"type": "reasoning", "reasoning": "gAAAB", "redacted": True}, {"type": "text", "text": "a"}]),
         "a", "stop"),
        (answered([{"type": "image", "image": "a.png"}]), "", "stop"),
        ({"output": {"choices": []}, "error": {"message": "out of memory"}}, None, "stop"),
        ({"output": None}, None, "stop"),
    ],
)  # fmt: skip
def test_what_a_reply_is(tmp_path, suffix, change, completion, finish_reason):
    (sample,) = read_samples(log_of(tmp_path / f"log{suffix}", [SAMPLE | change]))
    assert (sample.completion, sample.finish_reason) == (completion, finish_reason)
    assert sample.fault == (None if completion is not None else "'completion' is no text")


SYSTEM, ASKED = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}


@pytest.mark.parametrize(
    ("change", "question", "answer"),
    [
        ({"input": [SYSTEM, ASKED]}, "How many?", "48"),
        ({"input": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "How many?"}]}]}, "How many?", "48"),
        ({"target": ["48"]}, SAMPLE["input"], "48"),
        ({"target": ["48", "forty-eight"]}, SAMPLE["input"], None),
    ],
)
def test_what_was_asked_and_is_true(tmp_path, change, question, answer):
    log = log_of(tmp_path / "log.eval", [SAMPLE | change])
    assert [sample.answer for sample in read_samples(log)] == [answer]
    (side,) = load(str(log), Reading.of("gsm8k", "think", None))
    assert [(each.question, each.answer) for each in side.completions] == [(question, answer)]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_sample_in_parts_and_one_that_was_run_again(tmp_path):
    parts = {"samples/1_epoch_1/sample.json": SAMPLE, "samples/1_epoch_1/events/0.json": {"event": "sample_init"}}
    log = zipped(tmp_path / "log.eval", {name: json.dumps(each).encode() for name, each in parts.items()})
    with zipfile.ZipFile(log, "a") as archive:
        for content in ("first", "second"):
            archive.writestr("samples/2_epoch_1.json", json.dumps(SAMPLE | {"id": 2} | answered(content)))
    assert [sample.completion for sample in read_samples(log)] == ["48", "second"]


def test_another_column_may_hold_the_answer(command, tmp_path):
    log = log_of(tmp_path / "log.eval", [SAMPLE | {"target": "a worked solution"}])
    code, said, (row,) = grade(command, log, "--answer-column", "metadata.gold")
    assert (code, row["scores"]["accuracy_flexible"]) == (0, 1), said


def test_epochs_are_paired_with_the_replies_of_other_samples(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replies = [[["<think>a</think>48"], ["no"]], [["6"], ["6"]]]
    questions = [("How many is 24 and 24?", "48"), ("How many is 3 and 3?", "6")]
    rows = [
        {"doc_id": place, "doc": {"question": question}, "target": answer, "resps": resps, "filter": "none"}
        for place, ((question, answer), resps) in enumerate(zip(questions, replies, strict=True))
    ]
    theirs = write_jsonl(tmp_path / "samples.jsonl", rows)
    code, said = command("compare", theirs, REAL, "--dataset", "gsm8k", "--format", "think")
    assert code == 0, said
    (found,) = json.loads((tmp_path / "comparison/comparison.json").read_text())["against"].values()
    strict = found["metrics"]["accuracy_strict"]
    assert (strict["before"], strict["after"], strict["n_pairs"]) == (0.25, 0.5, 4)
    code, said = command("compare", theirs, REAL, "--output", "other")
    assert (code, said.count("\n")) == (2, 1)
    assert "samples do not say how to score them: add --dataset and --format" in said


def truncated(path: Path) -> Path:
    path.write_bytes(REAL.read_bytes()[:-100])
    return path


def changed_inside(path: Path) -> Path:
    """One bit of a compressed sample, whose place is behind the name of the member."""
    content = bytearray(REAL.read_bytes())
    content[content.index(b"samples/2_epoch_1.json") + 200] ^= 1
    path.write_bytes(content)
    return path


def bomb(path: Path) -> Path:
    return zipped(path, {"samples/1_epoch_1.json": b" " * (inspect_logs.LARGEST + 1)})


def lying_bomb(path: Path) -> Path:
    """A member that says that it holds 9 bytes."""
    with bomb(path).open("r+b") as file:
        content = bytearray(file.read())
        for start, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = content.index(start) + offset
            content[place : place + 4] = (9).to_bytes(4, "little")
        file.seek(0)
        file.write(content)
    return path


def many_large(path: Path) -> Path:
    """Members that share what is compressed, of the largest size allowed: more than all may hold together."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("samples/0_epoch_1.json", b" " * inspect_logs.LARGEST)
        (only,) = archive.infolist()
        for number in range(1, inspect_logs.LARGEST_TOTAL // inspect_logs.LARGEST + 1):
            again = zipfile.ZipInfo(f"samples/{number}_epoch_1.json")
            for name in ("compress_type", "compress_size", "file_size", "CRC", "header_offset"):
                setattr(again, name, getattr(only, name))
            archive.filelist.append(again)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def of_bytes(content: bytes):
    return lambda path: zipped(path, {"samples/1_epoch_1.json": content})


HOSTILE = [
    (truncated, "not a whole .eval file"),
    (changed_inside, "not a whole .eval file (samples/2_epoch_1.json"),
    (empty, "not a whole .eval file"),
    (lambda path: zipped(path, {"header.json": b"{}"}), "a log without samples"),
    (lambda path: log_of(path, []), "a log without samples"),
    (bomb, "samples/1_epoch_1.json: over 64 MiB"),
    (lying_bomb, "not a whole .eval file"),
    (many_large, "its samples are over 4 GiB"),
    (of_bytes(b"[" * 100_000), "broken JSON"),
    (of_bytes(b"{"), "broken JSON"),
    (of_bytes(b"\xff\xfe\xff"), "not UTF-8 text"),
    (of_bytes(b"[]"), "no sample with an id and an epoch"),
    (of_bytes(b'{"id": 1, "epoch": true}'), "no sample with an id and an epoch"),
    (lambda path: zipped(path, {"samples/1_epoch_1.json": b"{}"}, zipfile.ZIP_LZMA), "give a whole log"),
    (lambda path: path, "No such file or directory"),
    (folder, "Is a directory"),
]


@pytest.mark.parametrize(("made", "said"), HOSTILE)
def test_a_damaged_or_hostile_log_is_one_line(command, tmp_path, made, said):
    log = made(tmp_path / "log.eval")
    code, told, _ = grade(command, log)
    assert (code, told.count("\n")) == (2, 1), told
    assert said in told
    assert not (tmp_path / "out.jsonl").exists()


def test_a_damaged_json_log_is_one_line(tmp_path):
    log = log_of(tmp_path / "log.json", [SAMPLE])
    log.write_bytes(log.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"log\.json: broken JSON"):
        read_samples(log)
    with pytest.raises(UserError, match="a log without samples"):
        read_samples(log_of(log, []))


def test_our_own_json_files_are_no_logs(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text(json.dumps([{"completion": "48", "answer": "48", "version": 2, "status": "success"}]))
    assert not inspect_logs.is_log(rows)
    assert [sample.completion for sample in read_samples(rows)] == ["48"]
