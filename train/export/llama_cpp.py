"""GGUF files, by llama.cpp's own converter and quantizer from the folder where Unsloth keeps them.

Unsloth's save_pretrained_gguf needs a model that Unsloth itself loaded, and if it misses something it clones, builds
and reinstalls packages unasked. The programs that it calls are called here directly instead, so llama.cpp is enough,
through Unsloth or not.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.console import progress
from harness.errors import UserError, cause
from harness.models import checkpoints
from harness.storage.files import write_text
from train.export import Export

# What the converter writes by itself; the others are made from a 16-bit file by the quantizer.
CONVERTED = ("q8_0", "f16", "bf16")
QUANTS = (*CONVERTED, "q4_k_m", "q5_k_m")
CONVERTER = "convert_hf_to_gguf.py"
QUANTIZERS = ("llama-quantize", "build/bin/llama-quantize")
MAGIC = b"GGUF"
# The converter's function that looks for a tokenizer's hash among those of published models.
UNKNOWN_TOKENIZER = "get_vocab_base_pre"


def find(quants: tuple[str, ...]) -> tuple[Path, Path | None]:
    """llama.cpp's converter, and its quantizer if a type needs it. Raises UserError if one is not there."""
    folder = Path(os.environ.get("UNSLOTH_LLAMA_CPP_PATH") or Path.home() / ".unsloth" / "llama.cpp")
    converter = folder / CONVERTER
    if not converter.is_file():
        raise UserError(
            f"--to gguf needs llama.cpp, and {folder} has no {CONVERTER}: git clone "
            f"https://github.com/ggml-org/llama.cpp {folder}, or set UNSLOTH_LLAMA_CPP_PATH to the folder that has it"
        )
    needing = [quant for quant in quants if quant not in CONVERTED]
    if not needing:
        return converter, None
    for name in QUANTIZERS:
        if os.access(folder / name, os.X_OK):
            return converter, folder / name
    raise UserError(
        f"--quant {needing[0]} needs llama-quantize, and {folder} has none: in that folder, cmake -B build && "
        "cmake --build build --target llama-quantize"
    )


def write_gguf(export: Export, folder: Path, quiet: bool) -> dict[str, float]:
    """Write one file per type, named after model and type, and a Modelfile for the first of them.

    Of a multimodal checkpoint it is the language model alone.
    """
    from train.export import modelfile
    from train.export.weights import write_16bit

    converter, quantizer = find(export.quants)
    with TemporaryDirectory(dir=folder) as plain:
        facts = write_16bit(export, Path(plain), quiet)
        wide = "f16" if checkpoints.model_config(plain)["dtype"] == "float16" else "bf16"
        files = {quant: folder / f"{export.name}-{quant.upper()}.gguf" for quant in export.quants}
        source = files.get(wide, Path(plain) / f"{wide}.gguf")
        converted = [quant for quant in files if quant in CONVERTED]
        rounded = [quant for quant in files if quant not in CONVERTED]
        for quant in [*converted, wide] if rounded and wide not in converted else converted:
            file = files.get(quant, source)
            progress.note(f"export: converting to {quant}", quiet)
            _run([sys.executable, converter, "--outfile", file, "--outtype", quant, plain], file)
        for quant in rounded:
            progress.note(f"export: rounding to {quant}", quiet)
            _run([quantizer, source, files[quant], quant.upper()], files[quant])
    write_text(folder / modelfile.FILE, modelfile.modelfile(export, files[export.quants[0]]))
    return facts


def _run(command: list[str | Path], file: Path) -> None:
    """Run one of llama.cpp's programs. Raises UserError with its last line if it writes no GGUF file."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0 and file.is_file():
        with file.open("rb") as stream:
            if stream.read(len(MAGIC)) == MAGIC:
                return
    program = next(Path(word).name for word in command if word != sys.executable)
    last_line = (done.stderr or done.stdout).strip().rpartition("\n")[2] or f"exit code {done.returncode}"
    fix = "update llama.cpp and what its requirements.txt names, or export --to merged-16bit"
    if UNKNOWN_TOKENIZER in last_line:
        fix = "llama.cpp knows the tokenizers of published models alone: export --to merged-16bit"
    raise UserError(f"llama.cpp's {program} made no {file.name} ({cause(last_line, 300)}): {fix}")
