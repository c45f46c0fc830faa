"""Several trainings by one recipe: each seed has a run folder of its own below the run's, and the same problems.

The run itself has the base's completions, which every seed's run copies, and, as its side `after`, the completions of
all adapters: completion i of the n-th seed's run is completion n * samples + i there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from harness.config import Configuration
from harness.errors import UserError
from harness.stages import BASE, EXTRA_TASKS, LAST
from harness.storage import validation
from harness.storage.run_folder import SIDE_FILES, Run
from harness.types import Completion, Evaluation, OverSeeds, Score

LARGEST_SEED = 2**32 - 1
# What is of one adapter alone, and what is summed over all.
OF_ONE_ADAPTER = ("adapter", "adapter_effect", "agreement", "seconds", "earlier_paces", "drawn_again", "unasked")


def check(config: Configuration, before_after: bool) -> None:
    """Raises UserError if several trainings are asked for where nothing is trained, or trained in one way only."""
    if config.training_seeds is None:
        return
    if config.adapter:
        raise UserError("--training-seeds trains adapters: leave it out with --adapter, or leave --adapter out")
    if not before_after:
        raise UserError(
            "--training-seeds (recipe key training_seeds) is for `harness run --before-after`, which trains and "
            "measures: leave it out"
        )
    if config.stop_early:
        raise UserError("--stop-early stops for one adapter's difference: leave it out with --training-seeds")
    if config.seed + config.training_seeds > LARGEST_SEED + 1:
        raise UserError(f"seed = {config.seed}: the seeds of --training-seeds go beyond {LARGEST_SEED}: lower it")
    if config.training_seed is not None:
        raise UserError("training_seed names one training, --training-seeds asks for several: leave one of them out")


def seeds(config: Configuration) -> range:
    """The seeds of a run's trainings, in order."""
    return range(config.seed, config.seed + config.training_seeds)


def configuration_of(config: Configuration, seed: int) -> Configuration:
    """The configuration of one seed's run: the run's own but for the training's seed."""
    return config.model_copy(update={"training_seeds": None, "training_seed": seed})


def folder(run: Run, seed: int) -> Path:
    return run.path / f"seed-{seed}"


def open_seed(run: Run, seed: int) -> Run:
    """Create or continue one seed's run, locked, with the base's completions of the whole run."""
    config, command = configuration_of(run.config, seed), run.record.command
    member = Run.create(folder(run, seed), config, command)
    member.parent = run
    if not member.record.is_done(LAST):
        member.record.set_command(command, config)
    for stage, places in ((BASE, [BASE]), (f"{EXTRA_TASKS}{BASE}", ["also"])):
        if run.record.is_done(stage) and not member.record.is_done(stage):
            member.take_over(run, stage, places)
    return member


def members(run: Run) -> dict[int, Run]:
    """Each seed's run. Raises UserError if one of them is missing or not finished."""
    runs = {seed: Run(folder(run, seed)) for seed in seeds(run.config)}
    for member in runs.values():
        if not (member.path / "run.json").is_file() or not member.record.is_done(LAST):
            raise UserError(
                f"{member.path}: this training is not finished: the command of the whole run continues from there"
            )
    return runs


def finished(run: Run) -> Sequence[Run]:
    """The seeds' runs of a run whose trainings are all finished and there; none of another run."""
    if run.config.training_seeds is None or not run.record.is_done(LAST):
        return ()
    are_there = all((folder(run, seed) / "run.json").is_file() for seed in seeds(run.config))
    return list(members(run).values()) if are_there else ()


def gather(run: Run) -> None:
    """Make the side `after` of a run out of those of its seeds' runs."""
    from harness.statistics.compare import metrics_of

    runs = members(run)
    sides = {seed: member.evaluation(LAST) for seed, member in runs.items()}
    samples, all_samples = run.config.samples, run.config.samples * len(sides)

    def moved(each: Completion, number: int) -> Completion:
        problem, index = each.position // samples, number * samples + each.index
        return replace(each, index=index, position=problem * all_samples + index)

    with run.record.stage(LAST) as provenance:
        completions, scores = [], []
        for number, side in enumerate(sides.values()):
            completions += [moved(each, number) for each in side.completions]
            scores += [replace(each, index=number * samples + each.index) for each in side.scores]
        validation.write_rows(Completion, run.path / LAST / SIDE_FILES[0], map(asdict, completions))
        run.write_scores(LAST, scores, metrics_of(scores, of_one_model=False))
        trainings = {seed: member.record.provenance.get("train", {}) for seed, member in runs.items()}
        provenance |= _provenance(sides) | _of_trainings(trainings) | {"gathered": _hashes(runs.values())}


def gather_changed(run: Run) -> None:
    """Make the side `after` of a run again if one of its seeds was scored again since."""
    runs = members(run).values()
    for member in runs:
        member.hashes.verify(member.path / LAST)
    if run.record.provenance.get(LAST, {}).get("gathered") != _hashes(runs):
        gather(run)


def compare_seeds(run: Run, before: Evaluation, after: Evaluation) -> None:
    """Write seeds.json: each metric's difference for each seed, and what that says of the recipe."""
    from harness.statistics.seed_statistics import over_seeds

    compared = over_seeds(before, by_seed(run.config, after))
    rows = {name: asdict(each) for name, each in compared.items()}
    validation.write(dict[str, OverSeeds], run.path / "seeds.json", rows)
    run.hashes.add(run.path / "seeds.json")


def by_seed(config: Configuration, after: Evaluation) -> dict[int, Evaluation]:
    """The gathered side taken apart: each seed's completions and scores, under their indices in the gathered side."""

    def part(rows: Sequence[Completion] | Sequence[Score], number: int) -> tuple:
        return tuple(each for each in rows if each.index // config.samples == number)

    return {
        seed: replace(after, completions=part(after.completions, number), scores=part(after.scores, number))
        for number, seed in enumerate(seeds(config))
    }


def _hashes(runs: Iterable[Run]) -> dict[str, str]:
    """The hashes of the seeds' sides as they stand, by file."""
    files_of = {run.path.name: run.hashes.stored() for run in runs}
    return {
        f"{name}/{LAST}/{file}": files.get(f"{LAST}/{file}", "")
        for name, files in files_of.items()
        for file in SIDE_FILES
    }


def _provenance(sides: Mapping[int, Evaluation]) -> dict:
    first = next(iter(sides.values())).provenance
    adapters = {
        f"seed-{seed} {file}": sha
        for seed, side in sides.items()
        for file, sha in (side.provenance.get("adapter") or {}).items()
    }
    unasked = sum(side.provenance.get("unasked", 0) for side in sides.values())
    alike = {key: value for key, value in first.items() if key not in OF_ONE_ADAPTER}
    return alike | {"adapter": adapters, "unasked": unasked}


def _of_trainings(trainings: Mapping[int, Mapping]) -> dict:
    """The warnings of the trainings, each with its seed, and the evaluated problems that they have nearly seen."""
    health = [f"seed {seed}: {warning}" for seed, each in trainings.items() for warning in each.get("health", ())]
    near_copies = next((each["near_copies"] for each in trainings.values() if each.get("near_copies")), None)
    return {"health": health} | ({"near_copies": near_copies} if near_copies else {})
