"""An export on the hub."""

from pathlib import Path

import httpx
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from harness.errors import UserError, cause
from harness.models import hub
from train.export import measured


def token_for(repo: str) -> str:
    """The token from HF_TOKEN or the hub's login. Raises UserError if there is none, or `repo` is no id."""
    hub.refuse_unusable_proxies()
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"--push {repo}: not a repository's id ({error}): write NAME/REPOSITORY") from error
    token = get_token()
    if not token:
        raise UserError("--push needs a token that may write: set HF_TOKEN, or log in with `hf auth login`")
    return token


def push(folder: Path, repo: str, token: str) -> str:
    """Upload a folder's files, not the replies that it was measured by; a new repository is private.

    Returns its address.
    """
    api = HfApi(token=token)
    try:
        repository = api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repository.repo_id,
            folder_path=folder,
            ignore_patterns=f"{measured.FOLDER}/*",
            commit_message="harness export",
        )
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise UserError(
            f"--push {repo}: the hub refuses ({cause(error, 200)}): {folder} is whole, push it again"
        ) from error
    return repository.url
