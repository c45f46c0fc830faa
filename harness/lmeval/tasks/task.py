"""The functions and the class that the YAML files beside this one name: problems, scores, tasks.

lm-eval loads this file when it loads one of them. `Task` is made only then: nothing here imports lm-eval before.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.config import EMBEDDED, Configuration
from harness.data import columns
from harness.data.datasets import DATASETS, held_out_split, named_equality
from harness.evaluation.prompts import system_text
from harness.evaluation.scoring import score_all
from harness.parsing import formats
from harness.parsing.formats import DEFAULT
from harness.parsing.named_formats import FORMATS
from harness.types import Completion

if TYPE_CHECKING:
    from datasets import Dataset

# lm-eval passes on a reply's text, but not how many tokens it has or why it ended.
UNKNOWN_TO_LM_EVAL = ("tokens", "truncated")
BETWEEN = "\n\n"


def gsm8k(rows: Iterable[dict]) -> "Dataset":
    return _problems("gsm8k", rows)


def dapo(rows: Iterable[dict]) -> "Dataset":
    return _problems("dapo", rows)


def _problems(name: str, rows: Iterable[dict]) -> "Dataset":
    """The problems that `harness` evaluates of a dataset, from the rows of its split.

    Each keeps its id, to find samples again: lm-eval's own doc_id is a place in the order of `--samples`.
    """
    from datasets import Dataset

    source, rows = DATASETS[name], list(rows)
    cut = "test" not in source.splits
    names = columns.find(
        rows, columns.Columns(source.question, source.answer, source.solution), has_solutions=False, where=name
    )
    read = columns.problems(rows, f"{name}-{'all' if cut else 'test'}", names)
    return Dataset.from_list(
        [
            {"id": each.id, "question": each.question, "answer": each.answer, "equality": named_equality(name)}
            for each in read.problems
            if not cut or held_out_split(each.question) == "test"
        ]
    )


def scores(doc: dict[str, Any], replies: list[str]) -> dict[str, float]:
    """Every metric of a reply. Unscorable ones are left out: lm-eval then averages over the other replies."""
    reply = Completion(
        problem_id=doc["id"],
        index=0,
        question=doc["question"],
        answer=doc["answer"],
        text=replies[0],
        n_tokens=0,
        finish_reason="stop",
        prompt_sha="",
        seed=0,
        prefix=doc["prefix"],
    )
    (score,) = score_all([reply], settings(doc["format"]), doc["equality"])
    return {name: value for name, value in score.scores.items() if value is not None and name not in UNKNOWN_TO_LM_EVAL}


@cache
def settings(format: str, system_prompt: str = DEFAULT) -> Configuration:
    """The configuration of `harness` for a format: system prompt, target language, rewards."""
    return Configuration(name="lm-eval", checkpoint=EMBEDDED, format=format, system_prompt=system_prompt)


class AskedByHarness:
    """What our tasks add to lm-eval's class: the prompt that `harness` renders, and replies read from where it ends."""

    def __init__(self, config: dict[str, Any]):
        metadata = config["metadata"]
        # lm-eval passes its model arguments in the metadata.
        if metadata.get("think_end_token"):
            raise ValueError(f"{config['task']}: leave think_end_token out: it would cut the reasoning off the reply")
        self.format = metadata["format"]
        config = {key: value for key, value in config.items() if key != "class"}
        asked = settings(self.format, metadata.get("system_prompt", DEFAULT))
        super().__init__(config=config | {"description": system_text(asked)})

    def fewshot_context(
        self,
        doc: dict[str, Any],
        system_instruction: str | None = None,
        chat_template: Callable[[list[dict[str, str]]], Any] | None = None,
        **_: Any,
    ) -> Any:
        """The prompt: the chat template's, else the system prompt and the question as plain text."""
        system = BETWEEN.join(filter(None, (system_instruction, self.config.description)))
        messages = formats.messages(doc["question"], system)
        if chat_template is None:
            return BETWEEN.join(message["content"] for message in messages)
        prompt = chat_template(messages)
        # If a template refuses a system prompt, lm-eval warns and asks without it: for no format at all.
        if isinstance(prompt, str) and self.config.description not in prompt:
            raise ValueError(
                f"{self.config.task}: the chat template drops the system prompt, which asks for the format: give a "
                "tokenizer whose template has it, or leave --apply_chat_template out"
            )
        return prompt

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        return super().process_results(doc | {"format": self.format, "prefix": self._prefix(doc)}, results)

    def _prefix(self, doc: dict[str, Any]) -> str:
        """The start of the reply that the prompt ends with; empty if a server renders it unseen."""
        prompt = next(each.args[0] for each in self.instances if each.doc["id"] == doc["id"])
        return formats.prompt_prefix(prompt, FORMATS[self.format]) if isinstance(prompt, str) else ""


def __getattr__(name: str) -> type:
    """`Task`: lm-eval's own class with ours before it."""
    if name != "Task":
        raise AttributeError(name)
    from lm_eval.api.task import ConfigurableTask

    return type(name, (AskedByHarness, ConfigurableTask), {})
