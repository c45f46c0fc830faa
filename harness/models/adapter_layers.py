"""Which layers an adapter's configuration names, by PEFT's own rules, and whether its file has these and no others."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.bounds import bounded
from harness.errors import UserError, cause

ALL_LINEAR = "all-linear"
_INDEX = re.compile(r"layers\.(\d+)\.")


def check_settings(adapter: str, settings: dict[str, Any]) -> None:
    """Raise UserError for settings that no adapter can have."""
    modules, ranks = settings.get("target_modules"), settings.get("rank_pattern") or {}
    alphas = settings.get("alpha_pattern") or {}
    layers = settings.get("layers_to_transform")
    wrong = {
        "rank_pattern": not isinstance(ranks, dict) or not all(map(_is_rank, ranks.values())),
        "alpha_pattern": not isinstance(alphas, dict) or not all(map(_is_number, alphas.values())),
        "lora_alpha": not _is_number(settings.get("lora_alpha", 8)),
        "modules_to_save": not _are_names(settings.get("modules_to_save") or []),
        "target_parameters": not _are_names(settings.get("target_parameters") or []),
        "target_modules": not isinstance(modules or "", str) and not _are_names(modules),
        "exclude_modules": not _is_pattern(settings.get("exclude_modules")),
        "layers_pattern": not _is_pattern(settings.get("layers_pattern")),
        "layers_to_transform": not all(type(each) is int for each in _listed(layers)),
        "r": not _is_rank(settings.get("r")),
    }
    for key in (key for key, is_wrong in wrong.items() if is_wrong):
        raise UserError(f"--adapter {adapter}: {key} in its adapter_config.json is not valid: copy the adapter again")


def _is_rank(value: object) -> bool:
    return type(value) is int and value > 0


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_pattern(value: object) -> bool:
    return value is None or isinstance(value, str) or _are_names(value)


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [] if value is None else [value]


@contextmanager
def expressions(adapter: str) -> Iterator[None]:
    """Raise UserError if an expression of an adapter's configuration is none, or takes too long over the names."""
    try:
        with bounded():
            yield
    except (re.error, RecursionError, OverflowError, TimeoutError, MemoryError) as error:
        raise UserError(
            f"--adapter {adapter}: a pattern in its adapter_config.json is not valid ({cause(error)}): copy the "
            "adapter again"
        ) from error


def check_expressions(adapter: str, settings: dict[str, Any], modules: Iterable[str]) -> None:
    """Raise UserError if PEFT could not match a model's modules with an adapter's expressions, or not in time."""
    with expressions(adapter):
        for module in modules:
            is_target(settings, module)
            rank_of(settings, module)
            _of_pattern(settings.get("alpha_pattern"), module, None)


def rank_of(settings: dict[str, Any], module: str) -> int:
    """The rank of a module's LoRA: that of the first key of rank_pattern that its name ends with, else r."""
    return _of_pattern(settings.get("rank_pattern"), module, settings["r"])


def _of_pattern(pattern: dict[str, Any] | None, module: str, otherwise: Any) -> Any:
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return otherwise


def is_target(settings: dict[str, Any], module: str) -> bool:
    """Whether PEFT puts a LoRA on a module of that name (peft.tuners.tuners_utils.check_target_module_exists)."""
    if _is_named(settings.get("exclude_modules"), module):
        return False
    if any(re.match(rf"(^|.*\.){each}($|\..*)", module) for each in settings.get("modules_to_save") or ()):
        return False
    targets = settings.get("target_modules")
    if not _is_named(targets, module) or isinstance(targets, str):
        return _is_named(targets, module)
    layers = _listed(settings.get("layers_to_transform"))
    return not layers or _layer_of(settings, module) in layers


def _is_named(names: str | list[str] | None, module: str) -> bool:
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or ())


def _layer_of(settings: dict[str, Any], module: str) -> int | None:
    patterns = _listed(settings.get("layers_pattern") or None)
    candidates = [rf"(?:^|.*?\.){pattern}\.(\d+)\." for pattern in patterns] or [r".*?\.[^.]*\.(\d+)\."]
    match = next(filter(None, (re.match(pattern, module) for pattern in candidates)), None)
    return int(match[1]) if match else None


def check_layers(
    adapter: str, settings: dict[str, Any], modules: dict[str, str], base: Iterable[str], layers: int | None
) -> None:
    """Raise UserError if an adapter's file has layers that its configuration does not name, or lacks some.

    `modules` are those of the file, each with its name `layers.N.…` in the `base`; the base has `layers` layers (None:
    unknown), whatever else its files hold.
    """
    if settings.get("target_modules") == ALL_LINEAR or settings.get("layer_replication"):
        return
    for module, layer in modules.items():
        if not is_target(settings, module):
            raise UserError(
                f"--adapter {adapter}: its file has {layer}, which its adapter_config.json does not name, so PEFT "
                "leaves it out where others apply it: bring the file that belongs to this configuration"
            )
    prefixes = {module.removesuffix(layer) for module, layer in modules.items()}
    if len(prefixes) != 1:
        return
    (prefix,) = prefixes
    # Experts have other names in memory than in the base's files.
    named = {_index(layer) for layer in base if ".experts." not in layer and is_target(settings, prefix + layer)}
    missing = sorted(named - {_index(layer) for layer in modules.values()})
    missing = [each for each in missing if layers is None or each < layers]
    if missing:
        raise UserError(
            f"--adapter {adapter}: its file has nothing for {len(missing)} of the {len(named)} layers that its "
            f"adapter_config.json names (the first is layers.{missing[0]}): copy the adapter again"
        )


def _index(layer: str) -> int:
    return int(_INDEX.match(layer)[1])
