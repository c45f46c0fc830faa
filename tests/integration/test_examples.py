"""harness/examples: each file is run as its page, its head or its cells say, in a copy as users make one."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

import harness as package

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(package.__file__).parent / "examples"
ROW = re.compile(r"\| \[(.+?)\]\(\1\) \| .+ \| (.+) \|")
ROWS = dict(ROW.findall((EXAMPLES / "README.md").read_text(encoding="utf-8")))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.fixture
def examples(tmp_path, monkeypatch) -> Path:
    """A copy, which is the working folder; the programs of this environment come first."""
    copy = shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(copy)
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin", prepend=":")
    return copy


def commands_of(name: str) -> list[list[str]]:
    """The words of each command in a file's row of the page."""
    return [shlex.split(each) for each in re.findall(r"`(.+?)`", ROWS[name])]


def run_notebook(path: Path, parameters: dict[str, str]) -> tuple[dict, list]:
    """Run the cells but the one that installs, with `parameters` for the notebook's own.

    Returns the names that the cells made, and what each Python cell's last line shows. Raises where one fails.
    """
    names, shown = {}, []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if cell["cell_type"] == "markdown" or "install" in tags:
            continue
        if source.startswith("!"):
            subprocess.run(source[1:].format(**names), shell=True, check=True, timeout=600)
            continue
        body = ast.parse(source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), path.name, "exec"), names)
        if last:
            shown.append(eval(compile(ast.Expression(last.value), path.name, "eval"), names))
        if "parameters" in tags:
            assert parameters.keys() <= names.keys()
            names |= parameters
    return names, shown


def test_the_page_names_every_file():
    files = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} == {*ROWS, "README.md"}


def test_own_data(examples, command):
    ((_, *words),) = commands_of("own_data/questions.csv")
    code, said = command(*words, "--output", "own")
    assert code == 0, said
    metrics = json.loads((examples / "own" / "before" / "metrics.json").read_text())
    assert metrics["accuracy_flexible"]["n"] == 12
    assert metrics["accuracy_flexible"]["unscored"] == 0
    assert metrics["accuracy_flexible"]["mean"] > 0


def test_own_reward(examples, command):
    (_, *words), (_, run, *more) = commands_of("own_reward.py")
    code, said = command(*words, "--output", "own")
    assert code == 0, said
    metrics = json.loads((examples / "own" / "before" / "metrics.json").read_text())
    rewards = {name: each["n"] for name, each in metrics.items() if name.startswith("reward/")}
    assert rewards == {"reward/correct_answer": 20, "reward/right_sums": 20, "reward/not_too_long": 20}
    assert run == "run"
    assert command("plan", *more)[0] == 0


def test_scored_replies(examples, command):
    (_, *check), (_, *score) = commands_of("own_reward.jsonl")
    assert command(*check)[0] == 0
    assert command(*score)[0] == 0
    assert (examples / "new.jsonl").read_text() == (examples / "own_reward.jsonl").read_text()
    (tests,) = commands_of("test_own_reward.py")
    pytest_run = [sys.executable, "-m", *tests]
    assert subprocess.run(pytest_run, check=False, timeout=600).returncode == 0

    rewards = examples / "own_reward.py"
    rewards.write_text(rewards.read_text().replace("[2.0 if", "[1.25 if"))
    done = subprocess.run(pytest_run, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 1
    assert "right: correct_answer: expected 2.0, got 1.25" in done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_in_order_and_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len({*ids}) == len(ids)
    for cell in notebook["cells"]:
        assert isinstance(cell["source"], list)
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
    assert path.stat().st_size < 10_000


def test_read_a_run(job):
    names, (run, differences, wrong, changed, kinds) = run_notebook(EXAMPLES / "read_a_run.ipynb", {"folder": str(job)})
    assert "accuracy_flexible" in run._repr_html_()
    assert list(differences.index) == list(run.comparison.metrics)
    after = names["replies"].query("side == 'after'")
    assert len(wrong) == (after["accuracy_flexible"] == 0).sum()
    assert len(changed) == sum(run.comparison.flips[each] for each in ("gained", "lost"))
    assert list(kinds.columns) == ["before", "after"]


def test_colab(job, examples):
    """On a copy of the finished job, whose settings are the same: nothing is generated or trained again."""
    shutil.copytree(job, "runs/small")
    options = "--limit 4 --set steps=2 --set prompts_per_step=2 --set generations=2 --set save_steps=2"
    _, (run, page) = run_notebook(examples / "colab.ipynb", {"options": options, "folder": "runs/small"})
    assert "accuracy_flexible" in run._repr_html_()
    shown = page._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "&lt;html" in shown
    stages = [json.loads((each / "run.json").read_text())["stages"] for each in (job, Path("runs/small"))]
    assert all(stages[0][name] == stages[1][name] for name in ("before", "train", "after"))


def test_train_elsewhere(examples, monkeypatch):
    """In a notebook's own process, where the hub cannot be reached: the embedded model takes the real one's place."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(package.__file__).parent.parent))
    notebook = nbformat.read(examples / "train_elsewhere.ipynb", nbformat.NO_CONVERT)
    notebook.cells = [each for each in notebook.cells if "install" not in each.metadata.get("tags", [])]
    (parameters,) = (each for each in notebook.cells if "parameters" in each.metadata.get("tags", []))
    parameters.source += '\nsteps, limit, folder = 2, 4, "runs/trained"'
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(examples)}}).execute()

    outputs = [each for cell in notebook.cells for each in cell.get("outputs", ())]
    values = [each.data for each in outputs if each.output_type == "execute_result"]
    results = [each["text/html"] for each in values if "text/html" in each]
    measured, result, page, differences = results
    assert "95 % interval" in measured
    assert "verdict" in result
    assert page.startswith("<iframe srcdoc=")
    assert "Trained by a program of its own (GRPOConfig)" in page
    assert "accuracy_flexible" in differences
    steps = [json.loads(line)["step"] for line in (examples / "runs/trained/train/probes.jsonl").open()]
    assert steps == [0, 1, 2]


def steps_of_the_action(inputs: dict[str, str]) -> list[tuple[str, dict[str, str]]]:
    """The script of each step of action.yml, with its environment, as GitHub fills it in."""
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    known = {name: each["default"] for name, each in action["inputs"].items()}
    assert inputs.keys() <= known.keys()
    values = {f"inputs.{name}": value for name, value in (known | inputs).items()}
    values |= {"github.token": "a-token", "github.event.pull_request.number": "7"}
    steps = [step for step in action["runs"]["steps"] if "run" in step]
    assert all(step["shell"] == "bash" and "${{" not in step["run"] for step in steps)
    expression = re.compile(r"\$\{\{ (\S+) \}\}")
    return [
        (step["run"], {key: expression.sub(lambda found: values[found[1]], text) for key, text in step["env"].items()})
        for step in ({"env": {}} | step for step in steps)
    ]


def run_step(script: str, environment: dict[str, str], temp: Path) -> None:
    temp.mkdir(exist_ok=True)
    github = {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_REPOSITORY": "me/mine", "RUNNER_TEMP": str(temp),
              "GITHUB_STEP_SUMMARY": str(temp / "summary.md")}  # fmt: skip
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    subprocess.run(bash, env=os.environ | github | environment, check=True, timeout=600)


def stand_in(folder: Path, name: str, says: str = "") -> Path:
    """A program that writes down what it is asked, a line a call, its words separated by tabs."""
    folder.mkdir(exist_ok=True)
    calls = folder / f"{name}.calls"
    line = f"""(IFS=$'\\t'; echo "$*" >> '{calls}')"""
    (folder / name).write_text(f"#!/bin/bash\n{line}\n{says}\n")
    (folder / name).chmod(0o755)
    return calls


def test_gate(examples, command, tmp_path, monkeypatch):
    """The baseline is made as the head says; then every step of the action with what the workflow gives it."""
    text = (examples / "gate.yml").read_text(encoding="utf-8")
    for line in re.findall(r"^#     (harness .+)$", text, re.MULTILINE):
        _, *words = shlex.split(line)
        code, said = command(*words)
        assert code == 0, f"{line}: {said}"
    *_, uses = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    assert uses["uses"] == "OWNER/harness@main"
    (install, _), *steps = steps_of_the_action(uses["with"])
    assert install == 'python -m pip install "$GITHUB_ACTION_PATH"'
    asked = stand_in(tmp_path / "programs", "gh", says='[[ "$*" != *--paginate* || ! -e ../commented ]] || echo 5')
    monkeypatch.setenv("PATH", str(tmp_path / "programs"), prepend=":")
    for script, environment in steps:
        run_step(script, environment, tmp_path / "temp")
    assert "harness gate: holds" in (tmp_path / "temp/summary.md").read_text()
    assert (tmp_path / "temp/gate/gate.xml").is_file()
    assert (tmp_path / "temp/gate/report/index.html").is_file()

    # The report is commented once; a later commit replaces that comment.
    (tmp_path / "commented").touch()
    run_step(*steps[-1], tmp_path / "temp")
    comment = tmp_path / "temp/comment.md"
    assert comment.read_text().startswith("<!-- harness gate -->\n# tiny: word-problems")
    body = ["-F", f"body=@{comment}", "--silent"]
    new, replaced = [words for words in map(str.split, asked.read_text().splitlines()) if "--paginate" not in words]
    assert new == ["api", "repos/me/mine/issues/7/comments", *body]
    assert replaced == ["api", "--method", "PATCH", "repos/me/mine/issues/comments/5", *body]


def test_nothing_that_the_action_is_given_is_run(tmp_path, monkeypatch):
    """Words are split at spaces and line ends alone."""
    monkeypatch.chdir(tmp_path)
    programs = tmp_path / "programs"
    calls = {name: stand_in(programs, name) for name in ("python", "harness", "gh")}
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    bad = '$(touch${IFS}ran);`touch${IFS}ran`"*'
    (tmp_path / "temp" / bad / "report").mkdir(parents=True)
    (tmp_path / "temp" / bad / "report/report.md").touch()
    given = {"eval-options": f"--limit 3\n{bad}", "gate-options": f"{bad} *", "baseline": bad, "name": bad}
    for script, environment in steps_of_the_action(given):
        run_step(script, environment, tmp_path / "temp")
    assert not (tmp_path / "ran").exists()
    run = f"{tmp_path}/temp/{bad}"
    assert [line.split("\t") for line in calls["harness"].read_text().splitlines()] == [
        ["eval", "--output", run, "--limit", "3", bad],
        ["gate", run, "--baseline", bad, "--junit", f"{run}/gate.xml", "--summary", f"{tmp_path}/temp/summary.md", bad,
         "*"],
        ["report", run],
    ]  # fmt: skip
    assert calls["python"].read_text() == f"-m\tpip\tinstall\t{ROOT}\n"
    assert (tmp_path / "temp/comment.md").read_text() == f"<!-- harness {bad} -->\n"


def test_a_job_of_slurm_goes_back_into_the_queue_and_then_on(examples, tmp_path):
    """The scheduler is a stand-in: SIGTERM to the job's shell, and an scontrol that writes down what it is asked."""
    programs = tmp_path / "programs"
    programs.mkdir()
    asked = tmp_path / "asked"
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    (programs / "scontrol").chmod(0o755)
    ((sbatch, file),) = commands_of("slurm.sbatch")
    assert sbatch == "sbatch"
    options = "--limit 40 --engine-arg batch_size=2 --set steps=2 --set prompts_per_step=4 --set generations=4"
    job = {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "MODEL": "tiny", "RUN": "queued",
           "OPTIONS": f"{options} --set eval_every=0"}  # fmt: skip
    replies = examples / "queued" / "before" / "completions.jsonl"
    with subprocess.Popen(["bash", file], env=os.environ | job, start_new_session=True) as shell:
        while not (replies.is_file() and replies.read_text()):
            time.sleep(0.05)
            assert shell.poll() is None
        shell.terminate()
        assert shell.wait() == 0
    assert asked.read_text() == "requeue 7\n"
    kept = replies.read_text().splitlines()
    assert kept
    subprocess.run(["bash", file], env=os.environ | job, check=True)
    assert replies.read_text().splitlines()[: len(kept)] == kept
    assert (examples / "queued" / "report" / "index.html").is_file()
    assert asked.read_text() == "requeue 7\n"


def test_the_hook_of_pre_commit_checks_the_rewards(examples, command):
    page = (examples / "README.md").read_text(encoding="utf-8")
    config = yaml.safe_load("\n".join(re.findall(r"^    (repos:| +\S.*)$", page, re.MULTILINE)))
    (used,) = config["repos"][0]["hooks"]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert used["id"] == hook["id"]
    _, *words = hook["entry"].split()
    code, said = command(*words, *used["args"])
    assert code == 0, said
    changed = (examples / "own_reward.py").read_text(encoding="utf-8").replace("2.0 if", "3.0 if")
    (examples / "own_reward.py").write_text(changed, encoding="utf-8")
    # A process of its own, as this one has imported the file.
    assert subprocess.run(["harness", *words, *used["args"]], check=False, stdout=subprocess.DEVNULL).returncode == 3
