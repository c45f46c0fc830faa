"""The configuration: every key that determines a run, checked."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from harness import registry
from harness.errors import UserError
from harness.names_elsewhere import NAMES_ELSEWHERE
from harness.parsing import formats
from harness.parsing.language import LANGUAGE_CODES, LANGUAGES, NO_TARGET
from harness.parsing.named_formats import DEFAULT_FORMAT, FORMAT_NAMES, FORMATS
from harness.types import ACCURACY_FLEXIBLE, Sampling

EMBEDDED = "embedded"
# Before the id of a checkpoint that comes from there.
MODELSCOPE, FROM_MODELSCOPE = "modelscope", "modelscope:"
# Placeholders in a chat template that the format fills in.
DEFAULT_SYSTEM, OPENING_TAG = "HARNESS_DEFAULT_SYSTEM", "HARNESS_OPENING_TAG"
NOTHING = "none"
LONGEST_NAME = 80
# Engine arguments that decide how fast completions are generated and in how much memory. A run continues with others:
# what is generated stays, and the rest may differ in the last bits of a logit, or, with an engine whose completions
# depend on the others in a batch, be another sample of the same distribution.
THROUGHPUT_SETTINGS = frozenset(
    {
        "batch_size", "concurrency", "data_parallel_size", "gpu_memory_utilization", "machines", "max_num_seqs",
        "retries", "timeout",
    }
)  # fmt: skip
# Keys that older versions did not have.
CAME_LATER = ("hub", "primary", "stop_early", "training_seed", "training_seeds")
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_]\w*$")]
TemplateValue = bool | int | float | str | list[str]


class Configuration(BaseModel):
    """Everything that determines a run; a recipe file sets any of these keys, the command line wins over it."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    name: str = Field(description="the first part of the run folder's name")
    checkpoint: str = Field(description=f"'{EMBEDDED}', a local folder, a GGUF file or a hub id")
    hub: Literal["huggingface", "modelscope"] = Field(
        "huggingface", description="where ids of checkpoints and datasets are looked up"
    )
    dataset: str = Field("gsm8k", description="a dataset's name, or a local file or folder")
    data: str | None = Field(None, description="a local copy of a named dataset: file or folder")
    split: str | None = Field(None, description="the split that is evaluated")
    question_column: str | None = Field(None, description="the column of the questions; found by its name unless given")
    answer_column: str | None = Field(
        None, description="the column of the true answers; found by its name unless given"
    )
    limit: int | None = Field(None, ge=1, description="evaluate at most so many problems")
    limit_order: Literal["hash", "file"] = Field("hash", description="which: chosen by hash, or the file's first")

    format: str = Field(DEFAULT_FORMAT, description=f"how a reply must look: {FORMAT_NAMES}")
    language: str = Field("", description="target language of the reasoning, ISO 639-1, or 'none'")
    system_prompt: str = Field(
        formats.DEFAULT, description="'default' is in English; 'chinese', 'none', or the text itself"
    )
    chat_template: str = Field(
        "",
        description="a Jinja template's text, its .jinja file, or the name of one of the checkpoint's; '' is its own",
    )
    chat_template_kwargs: dict[TemplateName, TemplateValue] = Field(
        default_factory=dict, description="what the chat template reads besides: {enable_thinking = false}"
    )

    engine: str = Field("auto", description="what generates replies: auto, transformers, vllm, openai or scripted")
    engine_args: dict[str, str] = Field(default_factory=dict, description="the engine's arguments: {batch_size = '8'}")
    trust_remote_code: bool = Field(False, description="run the Python code that comes with a checkpoint")
    adapter: str | None = Field(None, description="an existing adapter; then nothing is trained")
    primary: str = Field("", description="the one metric with a verdict; '' is the usual family")
    stop_early: bool = Field(False, strict=True, description="stop once the primary metric's difference is clear")
    samples: int = Field(1, ge=1, le=10_000, description="replies per problem")
    baseline_samples: int | None = Field(
        None, ge=1, le=10_000, description="replies per problem of the base model; as `samples` unless given"
    )
    temperature: float = Field(1.0, ge=0, description="of sampling; 0 is greedy: always the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="sample among the likeliest tokens of this share; 1 is off")
    top_k: int = Field(0, ge=0, description="sample among so many of the likeliest tokens; 0 is off")
    min_p: float = Field(0.0, ge=0, lt=1, description="leave out tokens below this share of the likeliest; 0 is off")
    max_tokens: int = Field(1024, ge=1, le=1_000_000, description="the most tokens of an evaluated reply")
    seed: int = Field(3407, ge=0, lt=2**32, description="the seed of sampling and training")

    rewards: str = Field("", description="reward preset, or a .py file of your own; the format's unless named")
    rewards_sha: str = Field("", description="tells the versions of a .py file of rewards apart")
    variant: Literal["robust", "tutorial"] = Field(
        "robust", description="of the reward preset: reads replies as the metrics do, or scores as the tutorials do"
    )
    trainer: str = Field("auto", description="auto, trl or unsloth")
    training_seed: int | None = Field(
        None, ge=0, lt=2**32, description="the seed of the training alone; as `seed` unless given"
    )
    training_seeds: int | None = Field(
        None, le=100, description="so many trainings, seeds s, s+1, …, each evaluated on the same problems"
    )
    launcher: str = Field("", description="starts the training on several GPUs: 'torchrun --nproc-per-node 2'")
    also: tuple[str, ...] = Field((), description="extra tasks: lm-eval tasks to run before and after")
    also_tasks: str | None = Field(None, description="a folder of your own lm-eval tasks")
    also_limit: int | None = Field(None, ge=1, description="at most so many documents per task")
    also_chat_template: bool = Field(False, description="whether those tasks' prompts go through the chat template")
    tracker: Literal["none", "swanlab", "wandb", "mlflow", "tensorboard", "trackio"] = Field(
        "none", description="where the curves of the training are shown too"
    )

    sft_dataset: str = Field("none", description="worked solutions for SFT before GRPO, or 'none'")
    sft_data: str | None = Field(None, description="a local copy of a named sft_dataset: file or folder")
    sft_epochs: float = Field(2.0, gt=0, description="passes over the worked solutions")
    sft_batch: int = Field(1, ge=1, description="solutions per step")
    sft_accumulation: int = Field(1, ge=1, description="gradient accumulation steps")
    sft_learning_rate: float = Field(2e-4, gt=0, le=1, description="highest learning rate of SFT")
    sft_warmup_steps: int = Field(5, ge=0, description="steps in which SFT's learning rate rises")

    steps: int = Field(100, ge=1, le=10_000_000, description="optimizer steps of GRPO")
    save_steps: int = Field(100, ge=1, description="steps between checkpoints, from which a stopped training continues")
    prompts_per_step: int = Field(1, ge=1, description="problems per step; each gets `generations` completions")
    generations: int = Field(4, ge=2, description="completions per prompt")
    accumulation: int = Field(1, ge=1, description="gradient accumulation steps")
    max_sequence: int = Field(1024, ge=2, description="tokens of a training prompt and completion together")
    max_prompt: int | None = Field(None, ge=1, description="longer training prompts are left out, in tokens")
    prompt_quantile: float = Field(0.9, gt=0, le=1, description="of the prompts' lengths: max_prompt unless given")
    max_completion: int | None = Field(
        None, ge=1, description="tokens per completion; what the prompt leaves of max_sequence"
    )
    rollouts: Literal["vllm", "generate", "server"] = Field("vllm", description="what generates in training")
    rollout_server: str = Field("http://localhost:8000", description="of `trl vllm-serve`, for rollouts = server")
    gpu_memory_utilization: float = Field(0.5, gt=0, le=1, description="vLLM's share of the GPU in training")
    eval_every: int = Field(0, ge=0, description="steps between accuracy probes on held-out problems; 0 is never")
    eval_problems: int = Field(32, ge=1, description="training problems held out for those probes")

    weights: Literal["16-bit", "4-bit"] = Field("16-bit", description="of the base in training: 4-bit is QLoRA")
    eval_weights: Literal["16-bit", "4-bit"] | None = Field(
        None, description="of the base that is evaluated; as `weights` unless given"
    )
    gradient_checkpointing: bool | Literal["unsloth"] = Field(
        True, description="compute activations again in the backward pass: less memory, slower"
    )
    learning_rate: float = Field(5e-6, gt=0, le=1, description="highest learning rate of GRPO")
    optimizer: Literal["adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "adamw_torch_fused", description="AdamW; the 8-bit ones need bitsandbytes and less memory"
    )
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of Adam's first moment")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of Adam's second moment")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="how the learning rate falls after the warmup"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are clipped to this norm")
    beta: float = Field(0.04, ge=0, description="weight of the KL term")
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field("grpo", description="how TRL averages over tokens")
    kl_bias_correction: bool = Field(False, description="multiply the KL term by the policy's ratio to the old one")
    scale_rewards: Literal["group", "batch", "none"] = Field("group", description="whose spread divides the advantages")
    mask_truncated_completions: bool = Field(
        False, description="leave completions cut off at the limit out of the loss"
    )
    epsilon: float = Field(0.2, gt=0, lt=1, description="lower clip: the ratio to the old policy is at least 1 - this")
    epsilon_high: float = Field(0.2, gt=0, description="upper clip: that ratio is at most 1 + this")
    importance_correction: bool = Field(
        False, description="weigh vLLM's completions by how likely the trainer finds them; not for truncated sampling"
    )
    rollout_temperature: float = Field(1.0, gt=0, description="temperature of training completions")
    rollout_top_p: float = Field(1.0, gt=0, le=1, description="top_p of training completions; 1 is off")
    rollout_top_k: int = Field(0, ge=0, description="top_k of training completions; 0 is off")
    rollout_min_p: float = Field(0.0, ge=0, lt=1, description="min_p of training completions; 0 is off")
    lora_rank: int = Field(8, ge=1, description="rank of the adapter's matrices")
    lora_alpha: int = Field(8, ge=1, description="the adapter's output is multiplied by lora_alpha / lora_rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter, in training")
    lora_targets: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        description="the layers that get an adapter",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_from_format(cls, values: dict) -> dict:
        name = registry.choose("format", values.get("format") or DEFAULT_FORMAT, FORMATS)
        values = dict(values)
        values["format"] = name
        values["rewards"] = values.get("rewards") or FORMATS[name].rewards
        values["language"] = values.get("language") or FORMATS[name].language
        language = LANGUAGE_CODES.get(str(values["language"]).casefold(), values["language"])
        values["language"] = registry.choose("language", language, [*LANGUAGES, NO_TARGET])
        if values.get("stop_early") is True:
            values["primary"] = values.get("primary") or ACCURACY_FLEXIBLE
        template = values.get("chat_template")
        if isinstance(template, str):
            format, target = FORMATS[name], None if values["language"] == NO_TARGET else values["language"]
            default = formats.system_prompt(format, target, values.get("system_prompt") == formats.CHINESE)
            template = template.replace(DEFAULT_SYSTEM, json.dumps(default))
            values["chat_template"] = template.replace(OPENING_TAG, json.dumps(format.reasoning_tags[0]))
        return values

    @field_validator("training_seeds")
    @classmethod
    def _need_two_trainings(cls, value: int | None) -> int | None:
        if value is not None and value < 2:
            raise PydanticCustomError("too_few", "one training shows no spread: give at least 2, or leave it out")
        return value

    @property
    def target_language(self) -> str | None:
        return None if self.language == NO_TARGET else self.language

    @property
    def trains_sft(self) -> bool:
        return self.sft_dataset != NOTHING

    @property
    def truncates_rollouts(self) -> bool:
        """Whether training completions are sampled from only a part of the distribution."""
        return self.rollout_top_p < 1 or self.rollout_top_k > 0 or self.rollout_min_p > 0

    @property
    def has_own_rewards(self) -> bool:
        """Whether `rewards` is a user's Python file."""
        return self.rewards.endswith(".py")

    def samples_of(self, adapted: bool) -> int:
        """Replies per problem of the base model, or of the base with an adapter."""
        return self.samples if adapted or self.baseline_samples is None else self.baseline_samples

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            n=self.samples,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """The keys and values by which two runs differ: neither throughput settings nor keys without effect."""
        arguments = {name: value for name, value in self.engine_args.items() if name not in THROUGHPUT_SETTINGS}
        irrelevant = {"limit_order"} if self.limit is None else set()
        if self.samples_of(adapted=False) == self.samples:
            irrelevant.add("baseline_samples")
        return self.model_dump(mode="json", exclude=irrelevant) | {"engine_args": arguments}

    @property
    def sha(self) -> str:
        """The hash of the identity, without unused keys of later versions, so that a run's folder keeps its name."""
        unused = {key for key in CAME_LATER if getattr(self, key) == Configuration.model_fields[key].default}
        used = {key: value for key, value in self.identity.items() if key not in unused}
        return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()

    @property
    def folder_name(self) -> str:
        return f"{file_name(self.name)}-{file_name(Path(self.dataset).stem)}-{self.format}-{self.sha[:8]}"


def check(values: dict[str, Any]) -> Configuration:
    """A Configuration of `values`. Raises UserError with the first wrong key."""
    for key in values:
        registry.choose("recipe key", key, Configuration.model_fields, NAMES_ELSEWHERE)
    try:
        return Configuration(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        raise UserError(f"recipe key {key}{given}: {first['msg'].lower()}") from error


def file_name(text: str) -> str:
    """Any text as part of a file's name: without path separators, not hidden, short enough for any disk."""
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in text).lstrip(".-")
    return safe.encode()[:LONGEST_NAME].decode(errors="ignore") or "unnamed"
