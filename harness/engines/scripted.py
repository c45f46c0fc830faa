"""The engine that takes its replies from a file: a whole run without a model, for tests and to try a report."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from harness.data.tables import read_rows
from harness.engines import Finished, OnText, Setup
from harness.engines.agreement import Scores, Text
from harness.errors import UserError
from harness.findings import AdapterEffect
from harness.types import Completion, Request, Sampling


class ScriptedEngine:
    """Replies from `--engine-arg replies=FILE`, rows of {text, question or problem_id?, adapter?, finish_reason?}.

    A row that names a question (or problem id) is a reply to that one, several rows are its replies in turn; rows that
    name none are taken in the order of the requests, from the first again when they run out. Rows with `adapter` true
    are replies of base + adapter. Tokens are counted as words.
    """

    def __init__(self, setup: Setup):
        if "replies" not in setup.arguments:
            raise UserError("engine 'scripted' takes its replies from a file: give --engine-arg replies=FILE")
        path = Path(setup.arguments["replies"])
        # By whether the rows are the adapter's.
        self.named = {False: defaultdict(list), True: defaultdict(list)}
        self.unnamed: dict[bool, list[dict]] = {False: [], True: []}
        for place, row in enumerate(read_rows(path), start=1):
            if not isinstance(row.get("text"), str):
                raise UserError(f'{path}: row {place} has no \'text\': write {{"text": "the reply"}}')
            if not all(isinstance(row.get(key), str | None) for key in ("problem_id", "question")):
                raise UserError(f"{path}: row {place}: problem_id and question are texts: fix the row")
            name, adapted = row.get("problem_id") or row.get("question"), bool(row.get("adapter"))
            (self.named[adapted][name] if name else self.unnamed[adapted]).append(row)
        self.path = path
        if setup.adapter:
            self._refuse_none(True)
        self.provenance = {"engine": "scripted", "replies": str(path)}

    def load(self, requests: Sequence[Request] = (), max_tokens: int = 0) -> None:
        """The replies are read already."""

    def render(self, messages: list[dict[str, str]]) -> str:
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[bool, str, int]], sampling: Sampling
    ) -> Iterator[Finished]:
        for request in requests:
            if request.key not in done:
                yield [(request, _complete(request, self._row(request)))]

    def adapter_effect(self, requests: Sequence[Request]) -> AdapterEffect | None:
        return None

    def score(self, texts: Sequence[Text]) -> Scores | None:
        return None

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        completion = _complete(request, self._row(request))
        on_text(completion.text)
        return completion

    def _row(self, request: Request) -> dict:
        named, unnamed = self.named[request.adapted], self.unnamed[request.adapted]
        rows = named.get(request.problem.id) or named.get(request.problem.question)
        if rows:
            return rows[request.index % len(rows)]
        if unnamed:
            return unnamed[request.position % len(unnamed)]
        self._refuse_none(request.adapted)
        raise UserError(f"{self.path}: no reply for {request.problem.id}: add a row with that problem_id")

    def _refuse_none(self, adapted: bool) -> None:
        if not self.named[adapted] and not self.unnamed[adapted]:
            raise UserError(f'{self.path}: no reply {"with" if adapted else "without"} "adapter": true: add rows')


def _complete(request: Request, row: dict) -> Completion:
    finish = "length" if row.get("finish_reason") == "length" else "stop"
    return request.complete(row["text"], len(row["text"].split()), finish)
