"""ModelScope instead of the hub: its ids, and the folders into which its own package downloads."""

import functools
import logging
from importlib.util import find_spec
from pathlib import Path

from harness import registry
from harness.config import FROM_MODELSCOPE, MODELSCOPE
from harness.errors import UserError, cause
from harness.models import hub

# What has another id there than on the hub; harness/ECOSYSTEM.md says how each was found.
IDS = {
    "google/gemma-3-4b-it": "LLM-Research/gemma-3-4b-it",
    "google/gemma-3-1b-it": "LLM-Research/gemma-3-1b-it",
    "openai/gsm8k": "AI-ModelScope/gsm8k",
    "HuggingFaceH4/MATH-500": "AI-ModelScope/MATH-500",
}
# Neither pickles nor copies of the weights in other formats.
CHECKPOINT_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")
MODEL, DATASET = "model", "dataset"


def id_of(checkpoint: str) -> str | None:
    """The id on ModelScope of a checkpoint that a configuration takes from there; None for any other."""
    named = checkpoint.removeprefix(FROM_MODELSCOPE)
    return None if named == checkpoint else IDS.get(named, named)


def folder_here(repository: str, kind: str = MODEL) -> Path | None:
    """The folder in ModelScope's cache; None if there is none. Uses no network."""
    if find_spec(MODELSCOPE) is None:
        return None
    from modelscope.hub.snapshot_download import snapshot_download
    from modelscope_hub.errors import HubError

    try:
        return Path(snapshot_download(repository, repo_type=kind, local_files_only=True))
    except (HubError, OSError, ValueError):
        return None


@functools.cache
def download(repository: str, kind: str, files: tuple[str, ...]) -> Path:
    """Download what lacks of a repository's files, given by patterns, and compare the others with their hashes.

    Without a connection the copy in the cache is used. Raises UserError if there is none, or if ModelScope refuses.
    """
    registry.needs_library("hub = modelscope", MODELSCOPE, MODELSCOPE)
    hub.refuse_unusable_proxies("socks", "requests[socks]")
    import requests
    from modelscope.hub.snapshot_download import snapshot_download
    from modelscope_hub.errors import HubError, NetworkError

    # It logs each step, and what it raises besides.
    for name in (MODELSCOPE, "modelscope_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Path(snapshot_download(repository, repo_type=kind, allow_patterns=list(files)))
    except (HubError, OSError, ValueError) as error:
        if isinstance(error, NetworkError | requests.ConnectionError) and (here := folder_here(repository, kind)):
            return here
        fix = "give a downloaded folder, or leave --hub out"
        if isinstance(error, requests.HTTPError):
            fix = f"look its id up on modelscope.cn, set MODELSCOPE_API_TOKEN if it is private, {fix}"
        raise UserError(
            f"{repository}: cannot download this {kind} from ModelScope ({cause(error, 120)}): {fix}"
        ) from error
