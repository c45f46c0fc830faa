"""Canned replies from a file: a whole run without a model, for tests and for trying a report or a reward."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from harness.engines import OnText
from harness.errors import UserError
from harness.tables import read_rows
from harness.types import Completion, Request, Sampling


class ScriptedEngine:
    """Replies from `--engine-arg replies=FILE`, rows of {text, question or problem_id?, adapter?, finish_reason?}.

    A row that names a question (or problem id) answers that one, several rows its replies in turn; rows that name
    none answer in the order of the requests, again from the first where they run out. Rows with `adapter` true
    speak for base + adapter. Tokens are counted as words.
    """

    def __init__(self, checkpoint: str, adapter: str | None, arguments: dict[str, str]):
        if "replies" not in arguments:
            raise UserError("engine 'scripted' answers from a file: give --engine-arg replies=FILE")
        path = Path(arguments["replies"])
        self.named, self.unnamed = defaultdict(list), []
        for place, row in enumerate(read_rows(path), start=1):
            if not isinstance(row.get("text"), str):
                raise UserError(f'{path}: row {place} has no \'text\': write {{"text": "the reply"}}')
            if not all(isinstance(row.get(key), str | None) for key in ("problem_id", "question")):
                raise UserError(f"{path}: row {place}: problem_id and question are texts: mend the row")
            if bool(row.get("adapter")) == bool(adapter):
                name = row.get("problem_id") or row.get("question")
                (self.named[name] if name else self.unnamed).append(row)
        if not self.named and not self.unnamed:
            raise UserError(f'{path}: no reply {"with" if adapter else "without"} "adapter": true: add rows')
        self.path = path
        self.provenance = {"engine": "scripted", "replies": str(path)}

    def render(self, messages: list[dict[str, str]]) -> str:
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[str, int]], sampling: Sampling
    ) -> Iterator[list[Completion]]:
        for place, request in enumerate(requests):
            if request.place not in done:
                yield [_complete(request, self._row(place, request))]

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        completion = _complete(request, self._row(0, request))
        on_text(completion.text)
        return completion

    def _row(self, place: int, request: Request) -> dict:
        rows = self.named.get(request.problem.id) or self.named.get(request.problem.question)
        if rows:
            return rows[request.index % len(rows)]
        if self.unnamed:
            return self.unnamed[place % len(self.unnamed)]
        raise UserError(f"{self.path}: no reply for {request.problem.id}: add a row with that problem_id")


def _complete(request: Request, row: dict) -> Completion:
    finish = "length" if row.get("finish_reason") == "length" else "stop"
    return request.complete(row["text"], len(row["text"].split()), finish)
