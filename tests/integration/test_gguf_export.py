"""harness export --to gguf: how llama.cpp is called, what helps where it fails, and what stands beside the files."""

import sys
from pathlib import Path

import pytest
from conftest import configuration
from exports import export, order

from harness.cli.export import command_to_measure
from harness.configure import configure
from harness.errors import UserError
from harness.evaluation import prompts
from harness.storage.run_folder import Run
from train.export import llama_cpp, modelfile, write

# Stand-ins for llama.cpp's programs: they record how they are called and write a file that begins as a GGUF does.
STAND_IN = """#!{python}
import pathlib, sys
arguments = sys.argv[1:]
with (pathlib.Path(__file__).parent / "calls").open("a") as calls:
    print(pathlib.Path(__file__).name, *(pathlib.Path(each).name for each in arguments), file=calls)
broken = pathlib.Path(__file__).with_name("broken")
if broken.exists():
    sys.exit("INFO: reading\\n" + broken.read_text())
out = arguments[arguments.index("--outfile") + 1] if "--outfile" in arguments else arguments[1]
if "--outfile" in arguments:
    assert (pathlib.Path(arguments[-1]) / "model.safetensors").is_file()
pathlib.Path(out).write_bytes(b"GGUF" + out.encode())
"""


@pytest.fixture
def llama(tmp_path, monkeypatch):
    """A folder where Unsloth would keep llama.cpp, with stand-ins in it."""
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    for name in (llama_cpp.CONVERTER, llama_cpp.QUANTIZERS[0]):
        (folder / name).write_text(STAND_IN.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("UNSLOTH_LLAMA_CPP_PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("quants", "calls"),
    [
        (("q8_0",), [("convert_hf_to_gguf.py", "--outfile", "tiny-Q8_0.gguf", "--outtype", "q8_0")]),
        (
            ("q4_k_m", "f16", "q5_k_m"),
            [
                ("convert_hf_to_gguf.py", "--outfile", "tiny-F16.gguf", "--outtype", "f16"),
                ("convert_hf_to_gguf.py", "--outfile", "bf16.gguf", "--outtype", "bf16"),
                ("llama-quantize", "bf16.gguf", "tiny-Q4_K_M.gguf", "Q4_K_M"),
                ("llama-quantize", "bf16.gguf", "tiny-Q5_K_M.gguf", "Q5_K_M"),
            ],
        ),
        (
            ("bf16", "q4_k_m"),
            [
                ("convert_hf_to_gguf.py", "--outfile", "tiny-BF16.gguf", "--outtype", "bf16"),
                ("llama-quantize", "tiny-BF16.gguf", "tiny-Q4_K_M.gguf", "Q4_K_M"),
            ],
        ),
    ],
)
def test_llama_cpp_is_called_for_each_type(quants, calls, llama, adapter, tmp_path):
    """The call alone: the real programs were run by hand."""
    made = export(order(adapter, "gguf", quants=quants), tmp_path / "g")
    seen = [tuple(line.split()) for line in (llama / "calls").read_text().splitlines()]
    assert [call[: len(expected)] for call, expected in zip(seen, calls, strict=True)] == calls
    files = {f"tiny-{quant.upper()}.gguf" for quant in quants}
    assert {file.name for file in made.iterdir()} == files | {"Modelfile", "README.md", "export.json"}
    assert (made / "Modelfile").read_text().splitlines() == [
        f"FROM ./tiny-{quants[0].upper()}.gguf", 'PARAMETER stop "<end_of_turn>"'
    ]  # fmt: skip


def test_a_modelfile_asks_and_samples_as_the_run():
    config = configuration("temperature=0.7", "top_p=0.9", "max_tokens=64")
    lines = modelfile._as_the_run(config)
    assert lines[:2] == ["PARAMETER temperature 0.7", "PARAMETER top_p 0.9"]
    assert "PARAMETER num_predict 64" in lines
    # Ollama's own defaults are others, so what is off is said too.
    assert {"PARAMETER top_k 0", "PARAMETER min_p 0.0", "PARAMETER repeat_penalty 1.0"} <= {*lines}
    assert lines[-1] == f'SYSTEM """{prompts.system_text(config)}"""'
    quoted = config.model_copy(update={"system_prompt": 'Say """yes""".'})
    assert not any(line.startswith("SYSTEM") for line in modelfile._as_the_run(quoted))


@pytest.mark.parametrize(
    ("model", "recipe", "options", "how"),
    [
        ("tiny", None, {}, "--recipe tiny"),
        ("me/mine", "gemma3-4b", {"data": "/my gsm8k"}, "--recipe gemma3-4b --data '/my gsm8k'"),
        ("me/mine", None, {"format": "xml"}, "--dataset gsm8k --format xml"),
        ("gemma3-4b", None, {"hub": "modelscope"}, "--recipe gemma3-4b --hub modelscope"),
    ],
)
def test_an_exported_gguf_says_how_it_is_measured(model, recipe, options, how):
    config = configure(model, recipe, options, [])
    files = ["README.md", "mine-Q8_0.gguf", "mine-Q4_K_M.gguf"]
    job = order(Path("a"), "gguf", quants=("q8_0", "q4_k_m"))
    assert command_to_measure(job, config, recipe, Path("out"), files) == (
        f"harness eval --model out/mine-Q8_0.gguf {how}"
    )


def test_an_exported_gguf_of_a_run_is_measured_as_the_run_was(tmp_path):
    """With its dataset, its held-out part and all else that no recipe holds."""
    run = Run.create(tmp_path / "my run", configuration("temperature=0", limit=3, dataset="math-500"), "harness run")
    job = order(Path("a"), "gguf", quants=("q8_0", "q4_k_m"), run=run)
    assert command_to_measure(job, run.config, None, Path("out"), ["mine-Q8_0.gguf"]) == (
        f"harness export '{tmp_path}/my run' --to gguf --quant q8_0,q4_k_m --output out --measure"
    )


def test_without_llama_cpp_one_line_says_where_it_belongs(llama, adapter, tmp_path, monkeypatch):
    (llama / "llama-quantize").unlink()
    write.check(order(adapter, "gguf", quants=("q8_0",)), tmp_path / "g")
    with pytest.raises(UserError, match=r"q5_k_m needs llama-quantize, and .*llama\.cpp has none: .*cmake"):
        write.check(order(adapter, "gguf", quants=("q8_0", "q5_k_m")), tmp_path / "g")
    (llama / llama_cpp.CONVERTER).unlink()
    with pytest.raises(UserError, match=r"llama\.cpp has no convert_hf_to_gguf\.py: git clone .*UNSLOTH_LLAMA_CPP"):
        write.check(order(adapter, "gguf", quants=("q8_0",)), tmp_path / "g")


FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


def fail_half_way(folder: Path, error: Exception) -> None:
    with write.whole_folder(folder) as part:
        (part / "half").touch()
        raise error


@pytest.mark.parametrize(
    ("raised", "fix"),
    [
        ("ModuleNotFoundError: No module named 'sentencepiece'", "what its requirements.txt names"),
        # Of the embedded model, by the converter of 2026-10.
        ("NotImplementedError: BPE pre-tokenizer was not recognized - update get_vocab_base_pre()",
         r"get_vocab_base_pre\(\)\): llama.cpp knows the tokenizers of published models alone: export --to merged"),
    ],
)  # fmt: skip
def test_a_converter_that_fails_says_what_helps(llama, adapter, tmp_path, raised, fix):
    (llama / "broken").write_text(raised)
    with pytest.raises(UserError, match=fix):
        export(order(adapter, "gguf", quants=("q8_0",)), tmp_path / "g")


def test_an_export_is_whole_or_not_there(llama, adapter, tmp_path):
    wanted = order(adapter, "gguf", quants=("q8_0",))
    made = export(wanted, tmp_path / "g")
    kept = {file.name: file.read_bytes() for file in made.iterdir()}
    (llama / "broken").write_text("TypeError: no such model")
    for folder in (made, tmp_path / "new"):
        with pytest.raises(UserError, match=r"made no tiny-Q8_0\.gguf \(TypeError: no such model\)"):
            export(wanted, folder)
    assert {file.name: file.read_bytes() for file in made.iterdir()} == kept
    assert not (tmp_path / "new").exists()
    # As safetensors and tokenizers say it, each in an exception of its own.
    for raised, shown in ((RuntimeError(FULL), UserError), (ZeroDivisionError(), ZeroDivisionError)):
        with pytest.raises(shown, match="no space left" if shown is UserError else None):
            fail_half_way(made, raised)
    assert {file.name: file.read_bytes() for file in made.iterdir()} == kept
    assert not list(tmp_path.glob("*.part"))
