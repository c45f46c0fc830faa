"""Whether an adapter changes what the model says, and only that: checked before anything is generated with it."""

from collections.abc import Sequence
from dataclasses import asdict

from harness.config import Configuration
from harness.console import progress
from harness.engines import IN_MEMORY, SERVER, Engine
from harness.errors import UserError
from harness.models import adapters
from harness.types import Request

PROBES = 16


def check_adapter(
    config: Configuration, adapter: str, engine: Engine, requests: Sequence[Request], quiet: bool
) -> dict | None:
    """Measure what the adapter changes on the first prompts; None where the engine has no model to ask.

    Raises UserError if that is nothing, with the likeliest reason, if it cannot be told, or if the base's completions
    change too.
    """
    effect = engine.adapter_effect([request for request in requests if request.index == 0][:PROBES])
    if effect is None:
        return None
    if effect.is_unclear:
        raise UserError(
            f"--adapter {adapter}: cannot be told from {config.checkpoint}: of the server's greedy replies "
            f"{effect.difference:.0%} change with it and {effect.noise:.0%} without: let nobody else use the server "
            "meanwhile, or take one that echoes log-probabilities (vLLM's does)"
        )
    if not effect.acts:
        asked = {SERVER: "is it served by that name?", IN_MEMORY: "is it trained already?"}
        why = asked.get(config.engine) or adapters.why_inert(adapter, config.checkpoint)
        raise UserError(f"--adapter {adapter}: changes nothing that {config.checkpoint} says: {why}")
    if effect.leaks:
        raise UserError(
            f"--adapter {adapter}: this engine gives it to the base's replies too where both share a batch (vLLM's CPU "
            "build does, unless it is started with max_loras=2): measure the two by `harness eval` one after the other"
        )
    progress.note(
        "check passed: the adapter changes the model's output "
        f"({effect.evidence} differ by up to {effect.difference:.2g})",
        quiet,
    )
    return asdict(effect)
