"""How a recipe file and the command line become one configuration."""

import hashlib
import os
import re
import tomllib
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from harness import registry
from harness.config import FROM_MODELSCOPE, MODELSCOPE, Configuration, check
from harness.errors import UserError, refuse_secrets
from harness.memory import fits_memory, read_text
from harness.parsing.formats import NAMED_PROMPTS
from harness.storage.links import real_path

RECIPES = resources.files("harness") / "recipes"
# Keys whose text goes to the model as it is.
TEXTS = ("system_prompt", "chat_template")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# No key of a recipe needs more, and what is far deeper cannot be shown or stored.
DEEPEST = 20


def recipe_names() -> list[str]:
    return sorted(entry.name.removesuffix(".toml") for entry in RECIPES.iterdir() if entry.name.endswith(".toml"))


def read_recipe(name_or_file: str) -> dict[str, Any]:
    """The keys of a recipe, by its name or its file. Raises UserError if there is none or it cannot be read."""
    if "/" in name_or_file and not name_or_file.endswith(".toml"):
        raise UserError(f"--recipe {name_or_file}: a recipe file ends in .toml: give one, or a recipe's name")
    if name_or_file.endswith(".toml"):
        path = Path(name_or_file)
        if not path.is_file():
            raise UserError(f"no recipe file {path}: give a file that exists, or one of {', '.join(recipe_names())}")
    else:
        path = RECIPES / f"{registry.choose('recipe', name_or_file, recipe_names())}.toml"
    try:
        with fits_memory(path):
            keys = {"name": path.name.removesuffix(".toml")} | tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: give a recipe file that can be read") from error
    except (ValueError, RecursionError) as error:  # also for numbers too long and lists too deep
        raise UserError(f"{path}: not a TOML file: {error}: fix it") from error
    keys = _with_files(keys, path.parent)
    # A file or a checkpoint beside the recipe; anything else is a name, or a path from the current folder.
    for key, file in (("dataset", ""), ("sft_dataset", ""), ("checkpoint", "config.json"), ("checkpoint", "")):
        if isinstance(keys.get(key), str) and os.path.isfile(path.parent / keys[key] / file):
            keys[key] = os.path.abspath(path.parent / keys[key])
    return keys


def configure(model: str | None, recipe: str | None, options: dict[str, Any], settings: list[str]) -> Configuration:
    """The configuration of a recipe, options and `--set key=value`; the later wins. An option of None was not given.

    Raises UserError if a key or value is wrong, or a text holds a secret.
    """
    values = read_recipe(recipe) if recipe else {}
    values |= _model_values(model or (None if recipe else "tiny"), has_recipe=recipe is not None)
    given = {key: value for key, value in options.items() if value is not None}
    assigned = {key: _toml_value(text) for key, text in key_values("--set", settings).items()}
    if (given | assigned).get("format", values.get("format")) != values.get("format"):
        # Another format than the recipe's has its own rewards and language.
        values = {key: value for key, value in values.items() if key not in ("rewards", "rewards_sha", "language")}
    return settled(values | given, assigned)


def settled(values: dict[str, Any], settings: dict[str, Any]) -> Configuration:
    """The configuration of `values` and `settings`, which win; files that the settings name are read.

    Raises UserError if a key or value is wrong, or a text holds a secret.
    """
    values = values | _with_files(settings, Path())
    for key, value in values.items():
        if _is_deeper(value, DEEPEST):
            raise UserError(f"recipe key {key}: nested more than {DEEPEST} deep: make it plainer")
    refuse_secrets({f"recipe key {key}": str(value) for key, value in values.items()})
    checkpoint = values.get("checkpoint")
    if values.get("hub") == MODELSCOPE and HUB_ID.fullmatch(str(checkpoint)) and not os.path.exists(checkpoint):
        values["checkpoint"] = f"{FROM_MODELSCOPE}{checkpoint}"
    return check(values)


def _is_deeper(value: Any, most: int) -> bool:
    """Whether lists or tables are nested more than `most` deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (most == 0 or any(_is_deeper(each, most - 1) for each in inner))


def _with_files(values: dict[str, Any], folder: Any) -> dict[str, Any]:
    """`values` with the text of a chat template's file and the absolute paths of rewards and data files in `folder`."""
    for key, value in values.items():
        if isinstance(value, str) and not _can_be_encoded(key, value):
            raise UserError(f"recipe key {key}: contains a character that cannot be encoded: remove it")
    template, rewards = values.get("chat_template"), values.get("rewards")
    if isinstance(template, str) and template.endswith(".jinja"):
        values = values | {"chat_template": _read_text("chat_template", folder / template)}
    if isinstance(rewards, str):
        values = values | {"rewards_sha": ""}
        if rewards.endswith(".py"):
            path = real_path(folder / rewards)
            with fits_memory(path):
                sha = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            values |= {"rewards": str(path), "rewards_sha": sha}
    for key in ("data", "sft_data", "also_tasks"):
        if isinstance(values.get(key), str):
            values = values | {key: str(real_path(folder / values[key]))}
    return values


def _can_be_encoded(key: str, text: str) -> bool:
    """Whether a text can be stored: a path may have bytes that are not UTF-8, a prompt not; neither may have NUL."""
    with suppress(UnicodeEncodeError):
        return b"\0" not in (text.encode() if key in TEXTS else os.fsencode(text))
    return False


def _read_text(key: str, path: Any) -> str:
    try:
        return read_text(path, "utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe key {key}: {path} cannot be read: give a UTF-8 text file that exists") from error


def _model_values(model: str | None, has_recipe: bool) -> dict[str, Any]:
    """The keys that `--model` sets: those of a file, a folder, a hub id or a recipe."""
    if model is None:
        return {}
    path = Path(model)
    if path.is_file() and model not in recipe_names():
        return {"name": path.name.removesuffix(".gguf"), "checkpoint": os.path.abspath(path)}
    if path.suffix.lower() == ".gguf":
        raise UserError(f"--model {model}: no such file: give a GGUF file that exists")
    # A run folder may have a recipe's name; the recipe is meant.
    if path.is_dir() and (model not in recipe_names() or (path / "config.json").is_file()):
        return {"name": real_path(path).name, "checkpoint": str(real_path(path))}
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        return {"name": model.rpartition("/")[2], "checkpoint": model}
    if "/" in model:
        raise UserError(f"no checkpoint folder {model}: give a folder that exists, a hub id or a recipe's name")
    recipe = read_recipe(registry.choose("model", model, recipe_names()))
    return {key: recipe[key] for key in ("name", "checkpoint")} if has_recipe else recipe


def key_values(option: str, texts: list[str]) -> dict[str, str]:
    """The key=value texts of a repeated option as a dict. Raises UserError if one has no `=`."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"{option} {text}: write {option} key=value")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _toml_value(text: str) -> Any:
    """`text` as TOML would read it as a value; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def read_system_prompt(name_or_file: str) -> str:
    """`default`, `chinese`, `none`, or the text of a file. Raises UserError if it is none of them."""
    if name_or_file in NAMED_PROMPTS:
        return name_or_file
    try:
        return read_text(Path(name_or_file), "utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--system-prompt {name_or_file}: give 'default', 'chinese', 'none' or a UTF-8 text file"
        ) from error
