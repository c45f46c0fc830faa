"""Everything that can be known to be wrong before a model is loaded, an engine imported or a folder made."""

from harness import adapters, checkpoints, datasets, registry
from harness.config import Configuration
from harness.engines import ARGUMENTS, AUTO, ENGINES, SERVER, WITHOUT_CHECKPOINT, engine_name
from harness.errors import UserError
from harness.rewards import PRESETS
from harness.store import SIDES, parts


def check_names(config: Configuration) -> None:
    """A UserError for the first wrong name or path; needs neither data nor network."""
    from train.backends import AUTO as AUTO_TRAINER
    from train.backends import TRAINERS

    registry.choose("reward preset", config.rewards, PRESETS)
    registry.choose("engine", config.engine, [AUTO, *ENGINES])
    engine = engine_name(config.engine)
    for argument in config.engine_args if ARGUMENTS[engine] is not None else ():
        registry.choose("engine argument", argument, ARGUMENTS[engine])
    registry.choose("trainer", config.trainer, [AUTO_TRAINER, *TRAINERS])
    if engine != SERVER:
        checkpoints.check(config.checkpoint)
        if config.adapter:
            adapters.check(config.adapter, config.checkpoint)
    completions = config.prompts_per_step * config.generations
    if completions % config.accumulation:
        raise UserError(
            f"accumulation = {config.accumulation} does not divide the {completions} completions of a step: "
            "change prompts_per_step, generations or accumulation"
        )


def check_run(config: Configuration, stages: list[str]) -> None:
    """check_names, and a UserError for a model, a dataset or replies that are not to be had."""
    check_names(config)
    sides = {part for stage in stages for part in parts(stage)} & set(SIDES)
    engine = engine_name(config.engine)
    if engine == SERVER and {"train", "after"} <= {*stages}:
        raise UserError(
            f"engine '{SERVER}' cannot serve an adapter that this run trains: run `harness train`, serve its "
            "adapter, then --adapter NAME"
        )
    if engine not in WITHOUT_CHECKPOINT or "train" in stages:
        checkpoints.check_hub(config.checkpoint)
    if engine in WITHOUT_CHECKPOINT and sides:
        adapter = config.adapter or ("any" if "after" in sides else None)
        registry.load("engine", engine, ENGINES)(config.checkpoint, adapter, config.engine_args, config.seed)
    if sides:
        datasets.evaluation_problems(config)
    if "train" in stages:
        _check_training(config)


def _check_training(config: Configuration) -> None:
    if config.adapter:
        raise UserError("--adapter gives a trained adapter: leave it out to train one")
    problems = datasets.training_problems(config).problems
    if len(problems) < config.prompts_per_step:
        raise UserError(
            f"{config.dataset}: {len(problems)} training problems, a step needs {config.prompts_per_step}: "
            "give a larger dataset"
        )
