"""The weights that an evaluation loads its base with: those of the training, unless asked otherwise."""

from harness.config import Configuration
from harness.engines import WITHOUT_CHECKPOINT, engine_name
from harness.models import checkpoints, quantized
from harness.models.precision import gpu_has_bfloat16, why_not_4bit
from harness.types import AS_STORED


def evaluation_weights(config: Configuration, has_gpu: bool | None = None) -> tuple[str, str]:
    """The weights that the evaluation's base is loaded with, and why they are not those asked for, else "".

    `has_gpu` None: as torch says. A checkpoint that is quantized already stays so. Uses no network.
    """
    requested = config.eval_weights or config.weights
    if requested == "16-bit" or engine_name(config.engine) in WITHOUT_CHECKPOINT:
        return requested, ""
    folder = checkpoints.folder_here(config.checkpoint)
    if folder and quantized.is_quantized(checkpoints.model_config(str(folder))):
        return AS_STORED, ""
    if has_gpu is None:
        has_gpu = gpu_has_bfloat16() is not None
    why = why_not_4bit(has_gpu and config.engine_args.get("device") != "cpu")
    return ("16-bit", why) if why else (requested, "")
