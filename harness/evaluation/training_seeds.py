"""Several trainings by one recipe: each seed has a run folder of its own below the run's, and the same problems.

The run itself has the base's replies, which every seed's run takes over, and, as its side `after`, the replies of all
adapters: reply i of the seed at place s is reply s * samples + i there.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from harness.config import Configuration
from harness.errors import UserError
from harness.storage.files import write_json, write_lines
from harness.storage.run_folder import SIDE_FILES, Run
from harness.storage.stages import BASE, EXTRA_TASKS, LAST
from harness.types import Completion, Evaluation

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
    """Of one seed's run: all as in the run's own but the training's seed."""
    return config.model_copy(update={"training_seeds": None, "training_seed": seed})


def folder(run: Run, seed: int) -> Path:
    return run.path / f"seed-{seed}"


def begin(run: Run, seed: int) -> Run:
    """One seed's run, made or gone on with, locked, with the base's replies of the whole run."""
    config, command = configuration_of(run.config, seed), run.record.command
    one = Run.create(folder(run, seed), config, command)
    one.lock()
    one.parent = run
    if not one.record.is_done(LAST):
        one.record.set_command(command, config)
    for stage, places in ((BASE, [BASE]), (f"{EXTRA_TASKS}{BASE}", ["also"])):
        if run.record.is_done(stage) and not one.record.is_done(stage):
            one.take_over(run, stage, places)
    return one


def members(run: Run) -> dict[int, Run]:
    """Each seed's run. Raises UserError if one of them is missing or not finished."""
    found = {}
    for seed in seeds(run.config):
        one = Run(folder(run, seed))
        if not (one.path / "run.json").is_file() or not one.record.is_done(LAST):
            raise UserError(
                f"{one.path}: this training is not finished: the command of the whole run goes on from there"
            )
        found[seed] = one
    return found


def gather(run: Run) -> dict[int, Evaluation]:
    """Make the side `after` of a run out of those of its seeds' runs, and return these by seed."""
    from harness.statistics.compare import metrics_of

    runs = members(run)
    of_seed = {seed: one.evaluation(LAST) for seed, one in runs.items()}
    samples, all_samples = run.config.samples, run.config.samples * len(of_seed)

    def moved(each: Completion, seed_place: int) -> Completion:
        problem, index = each.position // samples, seed_place * samples + each.index
        return replace(each, index=index, position=problem * all_samples + index)

    with run.record.stage(LAST) as provenance:
        completions, scores = [], []
        for place, side in enumerate(of_seed.values()):
            completions += [moved(each, place) for each in side.completions]
            scores += [replace(each, index=place * samples + each.index) for each in side.scores]
        write_lines(run.path / LAST / SIDE_FILES[0], map(asdict, completions))
        write_lines(run.path / LAST / SIDE_FILES[1], map(asdict, scores))
        metrics = metrics_of(scores, of_one_model=False)
        write_json(run.path / LAST / SIDE_FILES[2], {name: asdict(each) for name, each in metrics.items()})
        run.hashes.add(*(run.path / LAST / name for name in SIDE_FILES))
        trained = {seed: one.record.provenance.get("train", {}) for seed, one in runs.items()}
        provenance |= _provenance(of_seed) | _of_trainings(trained)
    return of_seed


def _provenance(of_seed: dict[int, Evaluation]) -> dict:
    first = next(iter(of_seed.values())).provenance
    adapters = {
        f"seed-{seed} {file}": sha
        for seed, side in of_seed.items()
        for file, sha in (side.provenance.get("adapter") or {}).items()
    }
    unasked = sum(side.provenance.get("unasked", 0) for side in of_seed.values())
    alike = {key: value for key, value in first.items() if key not in OF_ONE_ADAPTER}
    return alike | {"adapter": adapters, "unasked": unasked, "training_seeds": list(of_seed)}


def _of_trainings(trained: dict[int, dict]) -> dict:
    """What the trainings warn of, each with its seed, and what of the evaluated problems they have nearly seen."""
    health = [f"seed {seed}: {warning}" for seed, known in trained.items() for warning in known.get("health", ())]
    near_copies = next((known["near_copies"] for known in trained.values() if known.get("near_copies")), None)
    return {"health": health} | ({"near_copies": near_copies} if near_copies else {})


def compare_seeds(run: Run) -> None:
    """Gather the seeds' sides anew, and write seeds.json: each metric's difference for each seed, and what that says
    of the recipe."""
    from harness.statistics.seed_statistics import over_seeds

    of_seed = gather(run)
    compared = over_seeds(run.evaluation(BASE), of_seed)
    write_json(run.path / "seeds.json", {name: asdict(each) for name, each in compared.items()})
    run.hashes.add(run.path / "seeds.json")


def finished(run: Run) -> Sequence[Run]:
    """The seeds' runs of a run whose trainings are all finished and there; none of another run."""
    if run.config.training_seeds is None or not run.record.is_done(LAST):
        return ()
    there = all((folder(run, seed) / "run.json").is_file() for seed in seeds(run.config))
    return list(members(run).values()) if there else ()
