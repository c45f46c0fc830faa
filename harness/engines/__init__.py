"""The engines by name, and what each of them can do."""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from harness.types import Completion, Request, Sampling

ENGINES = {
    "transformers": "harness.engines.transformers:TransformersEngine",
    "scripted": "harness.engines.scripted:ScriptedEngine",
}
ARGUMENTS = {"transformers": ("batch_size", "dtype", "device"), "scripted": ("replies",)}
AUTO = "auto"
OnText = Callable[[str], None]


class Engine(Protocol):
    """A loaded model that answers. Built as Engine(checkpoint, adapter, engine_args)."""

    provenance: dict

    def __init__(self, checkpoint: str, adapter: str | None, arguments: dict[str, str]): ...

    def render(self, messages: list[dict[str, str]]) -> str:
        """The prompt as text, through the model's own chat template."""

    def generate(
        self, requests: Sequence[Request], done: AbstractSet[tuple[str, int]], sampling: Sampling
    ) -> Iterator[list[Completion]]:
        """Replies as they finish, for the requests whose place is not in `done`.

        `requests` is always the whole run, so that what a place draws does not depend on what is done already.
        """

    def reply_to(self, request: Request, sampling: Sampling, on_text: OnText) -> Completion:
        """One reply, its text handed to `on_text` as it is drawn."""


def engine_name(name: str) -> str:
    """The engine behind `auto` on this machine."""
    return "transformers" if name == AUTO else name
