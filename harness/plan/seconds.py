"""The seconds that the stages take: those of an earlier run, else by a rule that is stated, else unknown."""

from contextlib import suppress
from math import ceil
from statistics import median

from harness.config import EMBEDDED
from harness.engines import WITHOUT_CHECKPOINT
from harness.errors import UserError
from harness.models import checkpoints
from harness.plan.case import H200_PARAMETERS, UNKNOWN, Case, Earlier
from harness.stages import BASE, LAST, REPORT, SIDES, STAGES, title_of
from harness.storage.files import read_journal

# The embedded model's default run on two idle x86-64 cores, 2026-11-29: seconds of start-up, and of a reply or a
# completion.
EMBEDDED_SIDE, EMBEDDED_TRAINING = (4.6, 0.017), (8.5, 0.030)
REPORT_SECONDS = 2.0
# FLOPs per second and core of two x86-64 cores with AVX-512: baselines/peers/cpu_decoding.py.
CPU_RATE = 60e9
# Gemma 3 4B's shape on an H200 (baselines/peers): vLLM's output tokens per second on 1,319 prompts, and what the
# whole command takes besides, 2026-11-30; Unsloth's seconds per training step of so many tokens, and those of
# compiling, 2026-11-21.
H200_RATE, H200_START = 16_053, 39.8
H200_STEP, H200_STEP_TOKENS, H200_COMPILING = 5.0, 4 * 768, 96.4

Estimate = tuple[float | str, str]


def seconds_of(case: Case, name: str) -> Estimate:
    """A stage's seconds and their source: an earlier run's, else a rule that is stated, else unknown."""
    if case.config.adapter and name == LAST:
        return 0.0, f"together with {BASE}"
    if STAGES[name].tasks_of:
        return UNKNOWN, "how many documents lm-eval's tasks have is not known without them"
    if not case.work(name):
        return UNKNOWN, "how many problems there are is not known without the data"
    seconds, source = _from_runs(case, name) or _by_rule(case, name)
    return seconds if seconds == UNKNOWN else round(seconds, 1), source


def time_shown(seconds: float) -> str:
    """Seconds as people read them: 15 s, 2 min 12 s, 1 h 20 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def sum_of(seconds: list[float | str]) -> float | str:
    return UNKNOWN if UNKNOWN in seconds else round(sum(seconds), 1)


def _from_runs(case: Case, name: str) -> Estimate | None:
    """From the newest run that did the same by the same means; any side's replies take as long as the base's."""
    for run in case.earlier:
        for stage in (name, BASE) if name in SIDES else (name,):
            then = run.work(stage)
            if then and run.stages.get(stage, {}).get("state") == "done" and _alike(case, run, stage):
                whole = run.stages[stage]["seconds"]
                variable = min(_variable_seconds(run, stage) or whole, whole)
                times = _times(case.work(name), then, run.provenance.get(stage, {}).get("batch_size"))
                return whole - variable + variable * times, _source(run, stage, whole, then)
    return None


def _times(now: float, then: float, batch: int | None) -> float:
    """How many times as much work there is now; a part of a batch takes as long as a whole one."""
    return ceil(now / batch) / ceil(then / batch) if batch else now / then


def _source(run: Earlier, stage: str, whole: float, work: float) -> str:
    provenance = run.provenance.get(stage, {})
    means = " on ".join(provenance[key] for key in ("engine", "device") if key in provenance)
    amount = f"{work:g} {STAGES[stage].unit}{f', {means}' if means else ''}"
    return f"{run.path}: {title_of(stage)} took {whole:g} s for {amount}"


def _alike(case: Case, run: Earlier, stage: str) -> bool:
    """Whether a stage of an earlier run was done by what would do it now, where that is known."""
    provenance = run.provenance.get(stage, {})
    if run.config.training_seeds and stage == LAST:
        return False  # gathered from its trainings' folders
    if stage in SIDES:
        means = provenance.get("engine", case.engine), provenance.get("device", case.device)
        return means == (case.engine, case.device) and not provenance.get("cached")
    if stage == REPORT:
        return {*run.stages} & {*SIDES} == {*case.names} & {*SIDES}
    if any(getattr(run.config, key) != getattr(case.config, key) for key in ("launcher", "sft_dataset", "sft_data")):
        return False
    effective = checkpoints.read_json(run.path / "train" / "effective_config.json") or {}
    devices = {each["device"] for each in run.provenance.values() if "device" in each}
    return effective.get("trainer", case.trainer.name) == case.trainer.name and devices <= {case.device}


def _variable_seconds(run: Earlier, stage: str) -> float | None:
    """The seconds of a stage that grow with its work: not those of start-up, loading and compiling. None if unknown."""
    if stage == "train":
        with suppress(UserError):
            steps = [row["step_time"] for row in read_journal(run.path / "train" / "log.jsonl") if "step_time" in row]
            return median(steps) * run.config.steps if steps else None
    return run.provenance.get(stage, {}).get("seconds", {}).get("draw")


def _by_rule(case: Case, name: str) -> Estimate:
    if name == REPORT:
        return REPORT_SECONDS, "the default run's (2026-11-21)"
    if STAGES[name].unit == "epochs":
        return UNKNOWN, "how many solutions there are is not known without the data"
    if name in SIDES and case.engine in WITHOUT_CHECKPOINT:
        return UNKNOWN, f"no earlier run by engine {case.engine}"
    on_cpu = case.device == "cpu" if name in SIDES else not case.machine.gpu
    if on_cpu and case.config.checkpoint == EMBEDDED:
        return _embedded_seconds(case, name)
    if not case.size.parameters:
        return UNKNOWN, "how many parameters there are is not known"
    return (_cpu_seconds if on_cpu else _gpu_seconds)(case, name)


def _embedded_seconds(case: Case, name: str) -> Estimate:
    fixed, each = EMBEDDED_TRAINING if name == "train" else EMBEDDED_SIDE
    unit = "completion" if name == "train" else "reply"
    source = f"{fixed:g} s + {1000 * each:g} ms per {unit}, the default run's on two x86-64 cores (2026-11-29)"
    return fixed + each * case.work(name), source


def _cpu_seconds(case: Case, name: str) -> Estimate:
    if name == "train" and case.size.parameters > case.trainer.most_on_cpu:
        return UNKNOWN, f"refused: more than {case.trainer.most_on_cpu / 1e9:g} billion parameters train on a GPU only"
    flops = 6 if name == "train" else 2
    seconds = _tokens(case, name) * flops * case.size.parameters / (CPU_RATE * case.machine.cores)
    return seconds, (
        f"{_tokens(case, name):,} tokens at most, {flops} FLOPs per token and parameter, at best {CPU_RATE / 1e9:g} "
        "GFLOP/s per core (measured 2026-11-21: 0.6 billion parameters, two cores with AVX-512)"
    )


def _gpu_seconds(case: Case, name: str) -> Estimate:
    tokens, scale = _tokens(case, name), case.size.parameters / H200_PARAMETERS
    model = f"{H200_PARAMETERS / 1e9:.1f} billion parameters, scaled by parameters; a smaller GPU is slower"
    if name == "train":
        if case.trainer.name != "unsloth" or case.trainer.config.rollouts != "vllm":
            return UNKNOWN, "no earlier run by this trainer, and no rule for it"
        seconds = H200_COMPILING + H200_STEP * scale * tokens / H200_STEP_TOKENS
        return seconds, (
            f"{tokens:,} tokens at most, at an H200's {H200_STEP} s per step of {H200_STEP_TOKENS:,}, after "
            f"{H200_COMPILING:g} s of compiling (2026-11-21: {model})"
        )
    if case.engine != "vllm":
        return UNKNOWN, f"no earlier run by engine {case.engine} on this GPU, and no rule for it"
    return H200_START + tokens / H200_RATE * scale, (
        f"{tokens:,} tokens at most, at an H200's {H200_RATE:,} tokens/s, after {H200_START} s of starting and "
        f"loading, the first time a minute more (2026-11-30: {model})"
    )


def _tokens(case: Case, name: str) -> int:
    """The most tokens that a stage generates."""
    config = case.config
    each = (config.max_completion or config.max_sequence) if name == "train" else config.max_tokens
    return int(case.work(name)) * each
