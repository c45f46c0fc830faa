"""What both training stages share: the backend, the last checkpoint, quiet libraries, a checked adapter at the end."""

import json
import os
import shutil
import socket
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from harness import registry
from harness.console import progress
from harness.engines import agreement
from harness.errors import UserError
from harness.evaluation.prompts import SYSTEM_MOVED, system_text
from harness.evaluation.provenance import dataset_sha, versions
from harness.evaluation.same_data import data_changed
from harness.models import chat, checkpoint_checks, checkpoints, loading
from harness.models.adapters import WEIGHTS
from harness.stages import Stage
from harness.storage import validation
from harness.storage.files import cache_folder, read_json
from harness.storage.run_folder import TRAINING_FILES, Run
from harness.storage.schema import EffectiveConfig
from harness.types import Dataset
from train.backends import TRAINERS, fitted, trainer_name
from train.faults import faults_named
from train.training import Training

ADAPTER_FILES = ("adapter_config.json", WEIGHTS)


@contextmanager
def training(run: Run, row: Stage, folder: Path, quiet: bool) -> Iterator[Training]:
    """Open a training stage with its files in `folder`; what libraries print goes into its trainer.log."""
    trainer = trainer_name(run.config)
    config, replaced = fitted(run.config, trainer)
    if config.training_seed is not None:
        config = config.model_copy(update={"seed": config.training_seed})
    first = os.environ.get("RANK", "0") == "0"
    quiet = quiet or not first
    with ExitStack() as open_until_done:
        provenance = open_until_done.enter_context(run.record.stage(row.name)) if first else {}
        if row.unit == "epochs":
            # SFT generates nothing.
            config = config.model_copy(update={"rollouts": "generate"})
            for key in ("rollouts", "importance_correction"):
                replaced.pop(key, None)
        for key, why in replaced.items():
            progress.note(f"{row.title}: {key} {why}", quiet)
        open_until_done.enter_context(progress.libraries_into(folder / "trainer.log"))
        open_until_done.enter_context(faults_named(config))
        _set_environment(folder)
        # Before all else: Unsloth patches the libraries that everything after it imports.
        backend = registry.load("trainer", trainer, TRAINERS)()
        progress.note(f"{row.title}: {config.checkpoint}, {backend.name}", quiet)
        tokenizer = loading.load_tokenizer(
            config.checkpoint, config.chat_template, config.trust_remote_code, config.chat_template_kwargs
        )
        ends = loading.end_tokens(config.checkpoint, tokenizer)
        if backend.name == "unsloth" and tokenizer.pad_token_id in ends:
            raise UserError(
                f"{config.checkpoint}: its vocabulary has no token to pad with but the end of a reply, which Unsloth "
                "would not train: give --trainer trl"
            )
        if chat.provenance(tokenizer) and system_text(config):
            progress.note(f"{row.title}: {SYSTEM_MOVED}", quiet)
        checkpoint = last_checkpoint(folder / "checkpoints")
        done = step_of(checkpoint) if checkpoint else 0
        provenance |= {"versions": versions(), **chat.provenance(tokenizer)}
        yield Training(
            row, config, backend, tokenizer, ends, folder, quiet, first, checkpoint, done, replaced, provenance
        )
        if first:
            adapter = (f"adapter/{name}" for name in (*ADAPTER_FILES, agreement.FILE))
            finished = [*TRAINING_FILES, "effective_config.json", *adapter]
            run.hashes.add(*(folder / name for name in finished))


def _set_environment(folder: Path) -> None:
    """Settings of the libraries, most of them unless the user has set them."""
    # A compiled step is no quicker, and compiling takes minutes more: baselines/peers/training_speed.json.
    os.environ.setdefault("UNSLOTH_COMPILE_DISABLE", "1")
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_folder() / "unsloth"))
    # Two trainings that start on one machine at once would ask for one and the same port.
    if "WORLD_SIZE" not in os.environ:
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
    # Of FSDP's sharded checkpoints no adapter can be made.
    os.environ["FSDP_STATE_DICT_TYPE"] = "FULL_STATE_DICT"
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(folder / "tensorboard"))


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def record_problems(stage: Training, run: Run, dataset: Dataset, **facts: Any) -> None:
    """Record the problems that a stage trains on. Raises UserError if it started on others."""
    sha = dataset_sha(dataset)
    if stage.checkpoint and run.record.provenance.get(stage.row.name, {}).get("dataset_sha", sha) != sha:
        raise data_changed(run, stage.row, stage.row.name)
    stage.provenance |= facts | {"dataset_sha": sha}
    if stage.first:
        run.record.set_provenance(stage.row.name, stage.provenance)


def finish(stage: Training, trainer: Any, prompt: str, start: Path | None) -> None:
    """Train to the end, write the trainer's effective settings, and the adapter once it has passed its checks.

    `start` is the adapter that training continued with, None for a fresh one; `prompt` is rendered.
    """
    from peft import load_peft_weights, set_peft_model_state_dict

    from train import frozen, lora, probes

    lora.check_targets(trainer.model, stage.config.lora_targets)
    if stage.config.rollouts != "generate" and stage.backend.name == "trl":
        frozen.restore_after_merges(trainer.model)
    # Of a model that several processes share, none has the whole weights.
    is_whole = processes() == 1
    weights = frozen.checksums(trainer.model) if is_whole else {}
    if stage.checkpoint and _is_last(stage.checkpoint):
        set_peft_model_state_dict(trainer.model, load_peft_weights(str(stage.checkpoint), device="cpu"))
    else:
        trainer.train(resume_from_checkpoint=str(stage.checkpoint) if stage.checkpoint else None)
    temporary = stage.folder / "adapter.part"
    if stage.first:
        shutil.rmtree(temporary, ignore_errors=True)
    trainer.save_model(str(temporary))
    # What a model in parts is gathered from may still be under way: whoever left now would keep the first waiting.
    trainer.accelerator.wait_for_everyone()
    if not stage.first:
        return
    stage.provenance |= lora.check_trained(temporary, start)
    if is_whole:
        frozen.check_unmoved(weights, trainer.model)
        stage.provenance["frozen_weights"] = len(weights)
        stage.provenance["logit_difference"] = lora.logit_difference(trainer.model, temporary, stage.tokenizer, prompt)
    validation.write(EffectiveConfig, stage.folder / "effective_config.json", _effective(stage, trainer))
    for file in temporary.iterdir():
        if file.name not in ADAPTER_FILES:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    if is_whole:
        probes.write(stage, trainer, temporary)
    adapter = stage.folder / "adapter"
    shutil.rmtree(adapter, ignore_errors=True)
    temporary.rename(adapter)


def processes() -> int:
    """The number of processes that train together, as torchrun and accelerate set it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: the trainer writes its state last, so one without all of it was cut short."""
    checkpoints_with_state = {
        state.parent for state in folder.glob("checkpoint-*/trainer_state.json") if _is_state(state)
    }
    return max(filter(_is_whole, checkpoints_with_state), key=step_of, default=None)


def _is_whole(checkpoint: Path) -> bool:
    """Whether weights and states reach to their ends."""
    try:
        for file in checkpoint.glob("*.safetensors"):
            checkpoint_checks.check_whole(file)
    except UserError:
        return False
    return all(zipfile.is_zipfile(file) for suffix in ("pt", "pth", "bin") for file in checkpoint.glob(f"*.{suffix}"))


def _is_state(path: Path) -> bool:
    state = checkpoints.read_json(path)
    return isinstance(state, dict) and all(type(state.get(key)) is int for key in ("global_step", "max_steps"))


def _is_last(checkpoint: Path) -> bool:
    """Whether a checkpoint is of a training's last step."""
    state = read_json(checkpoint / "trainer_state.json")
    return state["global_step"] >= state["max_steps"]


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _effective(stage: Training, trainer: Any) -> dict[str, Any]:
    """The trainer's own settings, and those of the recipe that this machine replaced."""
    lora = trainer.model.peft_config["default"].to_dict()
    trainable, parameters = trainer.model.get_nb_trainable_parameters()
    values = {
        "trainer": stage.backend.name,
        "replaced": stage.replaced,
        "arguments": trainer.args.to_dict(),
        "lora": {key: sorted(value) if isinstance(value, set) else value for key, value in lora.items()},
        "weights": stage.config.weights,
        "rollouts": stage.config.rollouts,
        "kl_reference": _kl_reference(trainer),
        "trainable_parameters": trainable,
        "parameters": parameters,
    }
    return json.loads(json.dumps(values, default=str))


def _kl_reference(trainer: Any) -> str | None:
    """The reference of the KL term: TRL keeps a copy of an adapter that it continues with."""
    if not getattr(trainer.args, "beta", 0):
        return None
    return "the adapter of SFT" if "ref" in trainer.model.peft_config else "the base"
