"""The prompts of an evaluation: a request for every completion, with its rendered prompt."""

from harness.config import Configuration
from harness.engines import Engine
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from harness.types import Dataset, Request

SYSTEM_MOVED = "the chat template has no system role: the instructions open the user's turn"


def requests(config: Configuration, dataset: Dataset, engine: Engine, adapted: bool) -> list[Request]:
    """The requests of a side: each problem, as often as the base or the adapter is asked."""
    format = FORMATS[config.format]
    system = system_text(config)
    asked = []
    for problem in dataset.problems:
        prompt = engine.render(formats.messages(problem.question, system))
        sha = formats.prompt_sha(prompt)
        prefix = formats.prompt_prefix(prompt, format)
        for index in range(config.samples_of(adapted)):
            asked.append(Request(problem, index, prompt, sha, prefix, config.seed, len(asked), adapted))
    return asked


def system_text(config: Configuration) -> str | None:
    """The system prompt in force: the format's own, the user's, or none."""
    if config.system_prompt in (formats.DEFAULT, formats.CHINESE):
        in_chinese = config.system_prompt == formats.CHINESE
        return formats.system_prompt(FORMATS[config.format], config.target_language, in_chinese)
    return None if config.system_prompt == formats.NO_PROMPT else config.system_prompt
