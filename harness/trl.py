"""A callback of TRL's trainers, and of any of transformers', that measures the model before, during and after."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness.cli.stage_functions import write_report
from harness.config import Configuration
from harness.console import progress
from harness.data import datasets, overlap
from harness.engines.in_memory import lent
from harness.errors import UserError
from harness.evaluation import prompts, scoring
from harness.in_memory import SETTINGS, called, configuration_of, engine_for, measure, new_run, refuse_unknown
from harness.notebook import StoredRun, load_run
from harness.stages import BASE, LAST, REPORT, STAGES
from harness.storage.files import cut_journal, json_line, write_json
from harness.storage.run_folder import Run
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Dataset, Problem

TRAIN = "train"
PROBES = ("eval_every", "eval_problems")


class MeasureCallback(TrainerCallback):
    """Measures the model when a training begins and when it ends, and writes a run folder with its page.

    `before` is the model as the training finds it, `after` as the training leaves it. With `eval_every` the accuracy is
    measured every so many steps too, on `eval_problems` problems (32) of the same split beside those that are measured,
    so that needs a `limit`. Weights, training mode and all random numbers are left as they were: the training goes as
    it would without. `settings` and the other arguments are those of harness.evaluate; `result` is the run.

    Raises UserError for a wrong setting, and when a training begins that cannot be measured.
    """

    def __init__(self, *, output: str | Path | None = None, batch_size: int = 64, quiet: bool = False, **settings: Any):
        refuse_unknown(settings, (*SETTINGS, *PROBES))
        self.output, self.batch_size, self.quiet, self.settings = output, batch_size, quiet, settings
        self.run: Run | None = None

    @property
    def result(self) -> StoredRun:
        """The run, as harness.load_run returns it. Raises UserError before anything is measured."""
        if self.run is None:
            raise UserError("nothing is measured yet: give the callback to a trainer, then trainer.train()")
        return load_run(self.run.path)

    def on_train_begin(self, args, state, control, model=None, processing_class=None, **others: Any) -> None:
        if args.world_size > 1:
            raise UserError(
                f"MeasureCallback measures in one process, this training has {args.world_size}: leave it out, and call "
                "harness.evaluate on the trained model"
            )
        config = configuration_of(model, self.settings, self.batch_size, None)
        self.held_out = held_out(config) if config.eval_every else None
        self.run = new_run(config, self.output, called("trl.MeasureCallback", "", self.settings), state.global_step > 0)
        if not self.run.record.is_done(BASE):
            if state.global_step:
                self.run.remove_if_empty()
                raise UserError(
                    f"{self.run.path}: the training continues after step {state.global_step}, and there is no "
                    "measurement from before it: train from the start, or leave the callback out"
                )
            with lent(model):
                measure(self.run, [BASE], model, processing_class, self.quiet)
        # A training that goes beyond its first end has measured itself there.
        self.run.discard(LAST)
        self._begin(args, state, others.get("train_dataloader"), processing_class)
        if not state.global_step:
            self._probe(state, model, processing_class)

    def _begin(self, args: Any, state: Any, rows: Any, tokenizer: Any) -> None:
        folder = self.run.path / TRAIN
        self.log, self.probes = folder / "log.jsonl", folder / "probes.jsonl"
        folder.mkdir(exist_ok=True)
        for path in (self.log, self.probes, folder / "rollouts.jsonl"):
            cut_journal(path, state.global_step)
        measured = datasets.evaluation_problems(self.run.config).problems
        self.provenance = {"trained_by": type(args).__name__} | overlap_of(measured, training_texts(rows, tokenizer))
        self.started = time.monotonic()
        self.run.record.mark(TRAIN, "running", 0.0, self.provenance)
        for warning in self.provenance["health"]:
            progress.note(warning, self.quiet)

    def on_log(self, args, state, control, logs: dict | None = None, **_: Any) -> None:
        if logs and "reward" in logs:
            self._keep(self.log, {"step": state.global_step} | logs)

    def on_step_end(self, args, state, control, model=None, processing_class=None, **_: Any) -> None:
        config = self.run.config
        if config.eval_every and state.global_step % config.eval_every == 0:
            self._probe(state, model, processing_class)

    def _probe(self, state: Any, model: Any, tokenizer: Any) -> None:
        if self.held_out is None:
            return
        config = self.run.config.model_copy(update={"samples": 1})
        with lent(model):
            engine = engine_for(config, model, tokenizer)
            asked = prompts.requests(config, self.held_out, engine, adapted=True)
            finished = [each for batch in engine.generate(asked, set(), config.sampling) for _, each in batch]
        finished.sort(key=lambda each: each.position)
        scores = [each.scores for each in scoring.score_all(finished, config, self.held_out.equality)]
        strict = [each[ACCURACY_STRICT] for each in scores if each[ACCURACY_STRICT] is not None]
        mean = sum(strict) / len(strict) if strict else None
        correct = [each[ACCURACY_FLEXIBLE] for each in scores]
        self._keep(
            self.probes, {"step": state.global_step, f"rewards/{ACCURACY_STRICT}/mean": mean, "correct": correct}
        )
        count = f"{sum(strict):.0f} of {len(strict)}"
        progress.note(f"step {state.global_step}: {count} held-out problems correct and in the format", self.quiet)

    @staticmethod
    def _keep(path: Path, row: dict) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json_line(row))

    def on_train_end(self, args, state, control, model=None, processing_class=None, **_: Any) -> None:
        parameters = [(each.numel(), each.requires_grad) for each in model.parameters()]
        values = {
            "trainer": type(args).__name__,
            "replaced": {},
            "arguments": args.to_dict(),
            "parameters": sum(size for size, _ in parameters),
            "trainable_parameters": sum(size for size, trains in parameters if trains),
        }
        effective = self.run.path / TRAIN / "effective_config.json"
        write_json(effective, json.loads(json.dumps(values, default=str)))
        self.run.hashes.add(effective, self.log, self.probes, effective.with_name("rollouts.jsonl"))
        self.run.record.mark(TRAIN, "done", time.monotonic() - self.started, self.provenance)
        with lent(model):
            measure(self.run, [LAST], model, processing_class, self.quiet)
        write_report(self.run, STAGES[REPORT], self.quiet, None)
        self.run.lock_file = None


def held_out(config: Configuration) -> Dataset:
    """The problems of the probes: of the split that is measured, and none of those.

    Raises UserError if there are none.
    """
    measured = datasets.evaluation_problems(config)
    more = config.model_copy(update={"limit": len(measured.problems) + config.eval_problems})
    taken = {problem.id for problem in measured.problems}
    left = tuple(each for each in datasets.evaluation_problems(more).problems if each.id not in taken)
    if not left:
        raise UserError(
            f"eval_every = {config.eval_every}: all {len(taken)} problems of {config.dataset}, {config.split}, are "
            "measured before and after, none is left to measure on the way: give a lower limit"
        )
    return replace(measured, problems=left)


def overlap_of(measured: Sequence[Problem], trained: Iterable[str]) -> dict[str, Any]:
    """What run.json keeps of measured problems in the texts of a training: near copies, and a warning of whole ones."""
    texts = list(trained)
    copies = overlap.near_copies([Problem(str(number), text, None) for number, text in enumerate(texts)], measured)
    whole = "\n".join(map(overlap.normalised, texts))
    count = sum(overlap.normalised(each.question) in whole for each in measured)
    warning = (
        f"{count} of the {len(measured)} measured problems are in the training data: measure others, or leave these "
        "out of the training"
    )
    return {"near_copies": asdict(copies), "health": [warning] if count else []}


def training_texts(loader: Any, tokenizer: Any) -> Iterator[str]:
    """The texts that a trainer trains on: its prompts, or its tokens as text; none of a stream, which is read once."""
    rows = getattr(loader, "dataset", ())
    for row in rows if hasattr(rows, "__len__") else ():
        if "prompt" in row:
            prompt = row["prompt"]
            yield prompt if isinstance(prompt, str) else "\n".join(str(turn.get("content", "")) for turn in prompt)
        elif "input_ids" in row:
            yield tokenizer.decode(row["input_ids"], skip_special_tokens=True)
