"""Checks of a run before a model is loaded, an engine imported or a folder made."""

import urllib.request
from importlib.util import find_spec
from pathlib import Path

from harness import registry
from harness.config import Configuration
from harness.data import datasets
from harness.engines import (
    ARGUMENTS,
    AUTO,
    ENGINES,
    MOST_LORA_RANK,
    SERVER,
    WITHOUT_CHECKPOINT,
    engine_name,
    gpus,
    server_address,
)
from harness.errors import UserError
from harness.evaluation import scoring
from harness.evaluation.evaluate import open_engine
from harness.evaluation.pipeline import launcher_of
from harness.metric_definitions import METRIC_DEFINITIONS, definition_of
from harness.models import adapters, checkpoint_checks, checkpoints, model_files, quantized
from harness.models.precision import training_dtype, why_not_4bit
from harness.rewards import PRESETS
from harness.stages import BASE, LAST, STAGES, sides_of

# Engine arguments that are not allowed, as run.json records them, and what to do instead.
NOT_ALLOWED = {
    "trust_remote_code": "give --trust-remote-code",
    "hf_token": "set HF_TOKEN in the environment",
    "api_key": "set OPENAI_API_KEY in the environment",
}


def check_names(config: Configuration) -> None:
    """Raises UserError for the first wrong name or path; needs neither data nor network."""
    from train.backends import AUTO as AUTO_TRAINER
    from train.backends import TRAINERS

    check_metrics(config)
    registry.choose("engine", config.engine, [AUTO, *ENGINES])
    engine = engine_name(config.engine)
    for argument in config.engine_args.keys() & NOT_ALLOWED.keys():
        raise UserError(f"--engine-arg {argument}: is not allowed here, as a run records it: {NOT_ALLOWED[argument]}")
    for argument in config.engine_args if ARGUMENTS[engine] is not None else ():
        registry.choose("engine argument", argument, ARGUMENTS[engine])
    if gpus.REPLICAS in config.engine_args:
        gpus.places(engine, config.engine_args, replies=0)
    server_address("rollout_server", config.rollout_server)
    registry.choose("trainer", config.trainer, [AUTO_TRAINER, *TRAINERS])
    if engine != SERVER:
        checkpoint_checks.check(
            config.checkpoint, config.chat_template, config.trust_remote_code, config.chat_template_kwargs
        )
        if config.adapter:
            adapters.check(config.adapter, config.checkpoint)
    _check_figures(config)


def check_metrics(config: Configuration) -> None:
    """Raises UserError for unknown rewards, an unknown primary metric, or replies of the base that would be alike."""
    if not config.has_own_rewards:
        registry.choose("reward preset", config.rewards, PRESETS)
    _check_primary(config, scoring.reward_names(config))
    if config.temperature == 0 and (config.baseline_samples or 1) > 1:
        raise UserError(
            f"baseline_samples = {config.baseline_samples}: at temperature 0 the base gives the same reply each time: "
            "leave it out, or raise the temperature"
        )


def check_stop_early(config: Configuration, stages: list[str]) -> None:
    """Raises UserError if a run with --stop-early would evaluate one side alone."""
    sides = sides_of(stages)
    if config.stop_early and sides and not {BASE, LAST} <= sides:
        raise UserError(
            "--stop-early compares two sides of one run: use `harness run` with --before-after or --adapter, or leave "
            "it out"
        )


def _check_primary(config: Configuration, rewards: list[str]) -> None:
    if not config.primary:
        return
    metrics = [*METRIC_DEFINITIONS, *(f"reward/{name}" for name in rewards)]
    lacking = {name: "the run has no target language" for name in metrics if name.startswith("language")}
    lacking = {} if config.target_language else lacking
    lacking |= {name: "neither more nor less of it is better" for name in metrics if not definition_of(name).better}
    names = [name for name in metrics if name not in lacking]
    if config.primary in lacking:
        raise UserError(f"--primary {config.primary}: {lacking[config.primary]}: give one of {', '.join(names)}")
    registry.choose("primary metric", config.primary, names)


def _check_figures(config: Configuration) -> None:
    completions = config.prompts_per_step * config.generations
    if completions % config.accumulation:
        raise UserError(
            f"accumulation = {config.accumulation} does not divide the {completions} completions of a step: "
            "change prompts_per_step, generations or accumulation"
        )
    if config.max_prompt and config.max_prompt + (config.max_completion or 1) > config.max_sequence:
        raise UserError(
            f"max_prompt = {config.max_prompt} and max_completion = {config.max_completion or 'at least 1'} do not fit "
            f"into max_sequence = {config.max_sequence}: change one"
        )
    if config.importance_correction and config.truncates_rollouts:
        raise UserError(
            "importance_correction = true: with rollout_top_p, rollout_top_k or rollout_min_p its ratio shrinks with "
            "every token until nothing is learnt: leave it out, or switch those off"
        )
    if config.lora_rank > MOST_LORA_RANK:
        raise UserError(f"lora_rank = {config.lora_rank}: vLLM takes at most {MOST_LORA_RANK}: lower it")
    if config.trust_remote_code and config.trainer == "unsloth":
        raise UserError("trainer unsloth compiles code of its own over a checkpoint's: --trainer trl")
    if config.launcher and config.trainer == "unsloth":
        raise UserError("trainer unsloth trains on one GPU: leave launcher out, or --trainer trl")
    launcher_of(config)
    sft = config.model_copy(update={"dataset": config.sft_dataset})
    if config.trains_sft and not Path(config.sft_dataset).exists() and not datasets.address_of(sft):
        registry.choose("sft_dataset", config.sft_dataset, datasets.DATASETS)


def check_run(config: Configuration, stages: list[str], quiet: bool = False) -> None:
    """Check the names, the model, the dataset and the scripted replies of a run.

    Dequantizes a GGUF file, without a message if `quiet`. Raises UserError if something is wrong or missing.
    """
    check_names(config)
    check_stop_early(config, stages)
    sides = sides_of(stages)
    engine = engine_name(config.engine)
    if engine == SERVER and LAST in sides and "train" in stages:
        raise UserError(
            f"engine '{SERVER}' cannot serve an adapter that this run trains: run `harness train`, serve its "
            "adapter, then --adapter NAME"
        )
    registry.needs("engine", engine, ENGINES)
    if engine not in WITHOUT_CHECKPOINT or "train" in stages:
        checkpoint_checks.check_hub(config.checkpoint, config.trust_remote_code, quiet)
        settings = checkpoints.model_config(config.checkpoint)
        quantized.check(settings, config.checkpoint, engine, trains="train" in stages)
    if engine in WITHOUT_CHECKPOINT and sides:
        adapter = config.adapter or ("any" if LAST in sides else None)
        open_engine(config, adapter)
    if sides:
        datasets.evaluation_problems(config)
    if any(STAGES[stage].tasks_of for stage in stages):
        from harness.lmeval import extra_tasks

        extra_tasks.check(config)
    if "train" in stages:
        _check_training(config)


def refusal_of_size(checkpoint: str, parameters: float) -> str:
    """Why a checkpoint of so many parameters is not trained on this machine; empty if it is."""
    from train.backends import LARGEST_ON_CPU, has_gpu

    if parameters <= LARGEST_ON_CPU or has_gpu():
        return ""
    return (
        f"{checkpoint}: {parameters / 1e9:.1f} billion parameters need a GPU, PyTorch finds none: run it where one is, "
        "or try the recipe on a small checkpoint: --model FOLDER --recipe NAME"
    )


def _check_rollout_server(config: Configuration) -> None:
    if find_spec("vllm") is None:
        raise UserError(f"rollouts = server needs vLLM here too: {registry.installation('[gpu]')}")
    if config.trainer == "unsloth":
        raise UserError("trainer unsloth generates its own rollouts: --trainer trl, or --set rollouts=vllm")
    server = config.rollout_server.rstrip("/")
    try:
        urllib.request.urlopen(f"{server}/health", timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"rollout_server = {server}: does not answer ({error}): start it with "
            f"`trl vllm-serve --model {config.checkpoint}`"
        ) from error


def _check_training(config: Configuration) -> None:
    from train.backends import TRAINERS, fitted, has_gpu, trainer_name
    from train.trackers import TRACKERS, TRAINERS_OWN

    if config.adapter:
        raise UserError("--adapter gives a trained adapter: leave it out to train one")
    settings = checkpoints.model_config(config.checkpoint)
    stored, context = quantized.method_of(settings, config.checkpoint), model_files.context_length(settings)
    if config.weights == "4-bit" and stored not in ("", quantized.BITSANDBYTES):
        raise UserError(f"weights = 4-bit: {config.checkpoint} is quantized by {stored} already: --set weights=16-bit")
    if context and config.max_sequence > context:
        raise UserError(
            f"max_sequence = {config.max_sequence}: {config.checkpoint} reads {context} tokens, prompt and completion "
            "together: lower it"
        )
    if refusal := refusal_of_size(config.checkpoint, checkpoints.parameters(config.checkpoint)):
        raise UserError(refusal)
    training_dtype(config)
    trainer = trainer_name(config)
    registry.needs("trainer", trainer, TRAINERS)
    for tracker in {config.tracker} & {*TRACKERS, *TRAINERS_OWN}:
        registry.needs("tracker", tracker, TRACKERS | TRAINERS_OWN)
    if config.weights == "4-bit" and has_gpu() and (why := why_not_4bit(has_gpu=True)):
        raise UserError(f"weights = 4-bit: {why}: pip install bitsandbytes, or --set weights=16-bit")
    if fitted(config, trainer)[0].rollouts == "server":
        _check_rollout_server(config)
    if config.trains_sft:
        datasets.lessons(config)
    trained, _ = datasets.training_problems(config)
    if len(trained.problems) < config.prompts_per_step:
        raise UserError(
            f"{config.dataset}: {len(trained.problems)} training problems, a step needs {config.prompts_per_step}: "
            "give a larger dataset"
        )
