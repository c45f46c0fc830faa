"""A side as a log of inspect_ai, which `inspect view` opens: an .eval file, a zip of JSON. Needs no inspect_ai."""

import io
import json
import re
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.storage.files import write_bytes
from harness.storage.links import real_path
from harness.storage.run_folder import Run
from harness.types import CUT_OFF, Completion, Evaluation, Score

LOG_VERSION = 2
SCORER = "harness"
GENERATION = ("temperature", "top_p", "top_k", "max_tokens", "seed")
# What an id may not have in the name of a file.
UNSAFE, LONGEST_ID = re.compile(r"[^\w. -]"), 60
UNKNOWN_DATE = "1970-01-01T00:00:00+00:00"


def write(run: Run, side: Evaluation, file: Path) -> None:
    """Write a side with its replies, scores and metrics.

    A reply is an epoch of its problem's sample; what is unscored has no score, and its reason in the metadata.
    """
    model = str(side.settings["checkpoint"])
    samples = [_sample(each, score, model) for each, score in zip(side.completions, side.scores, strict=True)]
    shown = ("id", "epoch", "input", "target", "scores", "metadata")
    summaries = [{key: sample[key] for key in shown} | {"completed": True} for sample in samples]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        _add(archive, "header.json", _header(run, side, model))
        for sample in samples:
            _add(archive, f"samples/{sample['id']}_epoch_{sample['epoch']}.json", sample)
        _add(archive, "summaries.json", summaries)
    write_bytes(file, content.getvalue())


def _add(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    # Without a date of its own the same run gives the same file.
    member = zipfile.ZipInfo(name)
    archive.writestr(member, _as_json(value), zipfile.ZIP_DEFLATED)


def _as_json(value: Any) -> bytes:
    # Half surrogate pairs, which inspect_ai refuses, become question marks.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _header(run: Run, side: Evaluation, model: str) -> dict[str, Any]:
    settings, ended = side.settings, run.generated(side.name)
    created = ended.isoformat() if ended else UNKNOWN_DATE
    problems = list(dict.fromkeys(_id(each.problem_id) for each in side.completions))
    name = f"{real_path(run.path).name}-{side.name}"
    evaluation = {
        "eval_id": name,
        "run_id": real_path(run.path).name,
        "created": created,
        "task": str(settings["dataset"]),
        "task_id": name,
        "tags": [side.name],
        "dataset": {"name": str(settings["dataset"]), "samples": len(problems), "sample_ids": problems},
        "model": model,
        "model_generate_config": {key: settings[key] for key in GENERATION if key in settings},
        "config": {"epochs": max(each.index for each in side.completions) + 1},
        "packages": {"grpo-harness": run.record.read()["version"]},
        "metadata": {"side": side.name, "format": settings["format"], "engine": side.provenance.get("engine")},
    }
    return {
        "version": LOG_VERSION,
        "status": "success",
        "eval": evaluation,
        "results": {
            "total_samples": len(side.completions),
            "completed_samples": len(side.completions),
            "scores": _metrics(side),
        },
        "stats": {"completed_at": created},
    }


def _metrics(side: Evaluation) -> list[dict[str, Any]]:
    """Each metric's mean with its 95 % interval."""
    return [
        {
            "name": name,
            "scorer": SCORER,
            "scored_samples": metric.n,
            "unscored_samples": metric.unscored,
            "metrics": {
                key: {"name": key, "value": value}
                for key, value in (("mean", metric.mean), ("low", metric.low), ("high", metric.high))
                if value is not None
            },
        }
        for name, metric in side.metrics.items()
    ]


def _sample(completion: Completion, score: Score, model: str) -> dict[str, Any]:
    asked = {"role": "user", "content": completion.question, "source": "input"}
    message = {"role": "assistant", "content": completion.reply, "source": "generate", "model": model}
    stop_reason = "max_tokens" if completion.finish_reason == CUT_OFF else "stop"
    scored = {name: value for name, value in score.scores.items() if value is not None}
    return {
        "id": _id(completion.problem_id),
        "epoch": completion.index + 1,
        "input": completion.question,
        "target": completion.answer or "",
        "messages": [asked, message],
        "output": {
            "model": model,
            "choices": [{"message": message, "stop_reason": stop_reason}],
            "completion": completion.reply,
        },
        "scores": {name: {"value": value, "answer": score.extracted} for name, value in scored.items()},
        "metadata": {
            "problem_id": completion.problem_id,
            "prompt_sha": completion.prompt_sha,
            "seed": completion.seed,
            "unscored": score.reasons,
        },
    }


def _id(problem: str) -> str:
    """A problem's id as inspect_ai uses it: in the name of a file of the zip, which no id may lead out of."""
    safe = UNSAFE.sub("-", problem)[:LONGEST_ID]
    return problem if safe == problem else f"{safe}-{sha256(problem.encode('utf-8', 'replace')).hexdigest()[:8]}"
