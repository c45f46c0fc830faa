"""Our tasks for lm-eval, run by lm-eval itself; all but the path is skipped where lm-eval is not installed."""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import pytest
import torch
from conftest import configuration, needs_lm_eval, write_jsonl

from harness.configure import configure
from harness.data import word_problems
from harness.data.datasets import DATASETS, evaluation_problems
from harness.evaluation import evaluate, prompts
from harness.evaluation.scoring import TEXT_METRICS, score_text
from harness.lmeval import OURS
from harness.metric_definitions import METRIC_DEFINITIONS
from harness.models import checkpoints, loading
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from harness.rewards import load_rewards

RECIPES = {
    "gsm8k_working_out": "gemma3-4b",
    "gsm8k_think": "deepseek-r1-qwen3-8b",
    "gsm8k_xml": "gemma3-4b-xml",
    "dapo_working_out": "qwen3-8b",
    "dapo_think": "deepseek-r1-qwen3-8b",
    "dapo_xml": "gemma3-4b-xml",
}
IN_CHINESE = ["dapo_think_chinese", "gsm8k_think_chinese"]
LANGUAGES = {"working-out": "en", "think": "id", "xml": "en"}
REFUSES = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}{{ messages[0].content }}"
)
IGNORES = "{% for message in messages if message.role == 'user' %}{{ message.content }}{% endfor %}"


def parts(task: str) -> tuple[str, str]:
    dataset, _, format = task.partition("_")
    return dataset, format.replace("_", "-")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    """A few rows in the layout of each dataset, as --data takes them; the third of gsm8k has no true answer."""
    folder = tmp_path_factory.mktemp("data")
    asked = word_problems.problems("test", "en")
    gsm8k = [{"question": f" {each.question}\n", "answer": f"We count.\n#### {each.answer}"} for each in asked[:4]]
    gsm8k[2]["answer"] = ""
    dapo = [{"prompt": each.question, "solution": each.answer, "data_source": "math_dapo"} for each in asked[:40]]
    write_jsonl(folder / "test.jsonl", gsm8k)
    return {"gsm8k": folder, "dapo": write_jsonl(folder / "dapo.jsonl", dapo)}


@pytest.fixture(scope="module")
def manager(data, tmp_path_factory):
    """lm-eval's view of our tasks, each on those rows."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=local_tasks(data, tmp_path_factory.mktemp("tasks")), include_defaults=False)


def local_tasks(data: dict[str, Path], folder: Path) -> Path:
    for task in (*RECIPES, *IN_CHINESE):
        dataset, _ = parts(task)
        files = {"gsm8k": f"test: {data['gsm8k'] / 'test.jsonl'}", "dapo": f"train: {data['dapo']}"}
        (folder / f"{task}.yaml").write_text(
            f"include: {OURS / task}.yaml\ntask: {task}\ndataset_path: json\ndataset_name: null\n"
            f"dataset_kwargs: {{data_files: {{{files[dataset]}}}, cache_dir: {folder / 'cache'}}}\n"
        )
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Threads that wait for each other are many times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def results(manager, one_thread):
    """All tasks by the embedded model."""
    from lm_eval import simple_evaluate

    return simple_evaluate(
        model="hf",
        model_args={"pretrained": checkpoints.locate("embedded"), "dtype": "float32"},
        tasks=["harness"],
        task_manager=manager,
        device="cpu",
        batch_size=8,
        limit=3,
        gen_kwargs={"max_gen_toks": 48},
        apply_chat_template=True,
    )


@pytest.fixture(scope="module")
def model():
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=checkpoints.locate("embedded"), dtype="float32", device="cpu")


@pytest.fixture
def ask(model, manager, monkeypatch):
    """Run one task on given replies: ask("gsm8k_xml", {question: reply}, template) -> lm-eval's results."""
    from lm_eval import evaluate

    def run(task, reply_to, template=None, **options):
        if template:
            monkeypatch.setattr(model.tokenizer, "chat_template", template)
        monkeypatch.setattr(
            model, "generate_until", lambda asked: [reply_to(request.doc["question"]) for request in asked]
        )
        loaded = manager.load([task])
        return evaluate(model, loaded, bootstrap_iters=0, **{"apply_chat_template": True, **options})

    return run


def harness_prompts(config) -> dict[str, str]:
    engine = evaluate.open_engine(config, None)
    asked = prompts.requests(config, evaluation_problems(config), engine, adapted=False)
    return {request.problem.id: request.prompt for request in asked}


def test_the_path_is_all_that_is_printed(program):
    done = program("lm-eval", "path")
    assert (done.returncode, done.stdout) == (0, f"{OURS}\n")
    assert sorted(file.stem for file in OURS.glob("*.yaml")) == sorted([*RECIPES, *IN_CHINESE])


def test_the_path_needs_no_lm_eval():
    code = "import sys; sys.modules['lm_eval'] = None; from harness.cli.app import app; app(['lm-eval', 'path'])"
    # -P: the checkout that the tests are started in is not what is installed.
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{OURS}\n")


@needs_lm_eval
@pytest.mark.parametrize("task", RECIPES)
def test_the_files_say_what_harness_says(task):
    """Until and temperature among them: lm-eval's default is a stop at a blank line, and vLLM's to sample."""
    from lm_eval.tasks._yaml_loader import load_yaml

    file, (dataset, format) = load_yaml(OURS / f"{task}.yaml", resolve_func=False), parts(task)
    source, drawn = DATASETS[dataset], configure(None, RECIPES[task], {}, []).sampling
    assert (file["dataset_path"], file["dataset_name"]) == (source.address, source.config)
    assert file["test_split"] == ("test" if "test" in source.splits else "train")
    rewards = load_rewards(FORMATS[format].rewards, format=FORMATS[format]).names
    assert [each["metric"] for each in file["metric_list"]] == [*TEXT_METRICS, *(f"reward/{name}" for name in rewards)]
    assert set(TEXT_METRICS) == set(METRIC_DEFINITIONS) - {"tokens", "truncated"}
    assert all((each["aggregation"], each["higher_is_better"]) == ("mean", True) for each in file["metric_list"])
    assert file["generation_kwargs"] == {
        "until": [],
        "max_gen_toks": max(drawn.max_tokens, 2048 if dataset == "dapo" else 0),
        "do_sample": True,
        "temperature": drawn.temperature,
        "top_p": drawn.top_p,
        "top_k": drawn.top_k,
        "min_p": drawn.min_p,
        "repetition_penalty": 1.0,
    }
    assert file["metadata"] == {"version": 1.0, "format": format}
    assert (file["num_fewshot"], file["output_type"], file["tag"]) == (0, "generate_until", "harness")


@needs_lm_eval
def test_lm_eval_finds_them():
    from lm_eval.tasks import TaskManager

    found = TaskManager(include_path=str(OURS), include_defaults=False)
    assert found.all_subtasks == sorted([*RECIPES, *IN_CHINESE])
    assert found.all_tags == ["harness"]


@needs_lm_eval
@pytest.mark.parametrize("task", RECIPES)
def test_the_embedded_model_is_asked_as_by_harness(task, results, data, model):
    dataset, format = parts(task)
    config = configuration(dataset=dataset, data=str(data[dataset]), format=format, limit=3, limit_order="file")
    rendered, tokenizer = harness_prompts(config), loading.load_tokenizer("embedded")
    samples = results["samples"][task]
    assert {sample["doc"]["id"]: sample["arguments"][0][0] for sample in samples} == rendered
    for sample in samples:
        prompt, settings = sample["arguments"][0]
        assert model.tok_encode(prompt) == tokenizer(prompt, add_special_tokens=False)["input_ids"]
        assert (settings["until"], settings["temperature"], settings["max_gen_toks"]) == ([], 1.0, 48)
    assert results["versions"][task] == 1.0
    assert results["configs"][task]["description"] == prompts.system_text(config)


@needs_lm_eval
@pytest.mark.parametrize("task", IN_CHINESE)
def test_in_chinese_all_but_the_system_prompt_is_the_same(task, ask, data):
    from lm_eval.tasks._yaml_loader import load_yaml

    files = [load_yaml(OURS / f"{name}.yaml", resolve_func=False) for name in (task, task.removesuffix("_chinese"))]
    assert {key for key in files[0] if files[0][key] != files[1].get(key)} == {"task", "tag", "metadata"}
    assert files[0]["metadata"] == files[1]["metadata"] | {"system_prompt": "chinese"}
    assert not files[0]["tag"]

    dataset, _ = parts(task)
    config = configuration("system_prompt=chinese", dataset=dataset, data=str(data[dataset]), format="think")
    said = ask(task, str)
    assert {sample["doc"]["id"]: sample["arguments"][0][0] for sample in said["samples"][task]} == (
        harness_prompts(config)
    )
    assert "印度尼西亚语" in said["configs"][task]["description"]


@needs_lm_eval
@pytest.mark.parametrize("task", RECIPES)
def test_the_embedded_models_replies_score_as_by_harness(task, results):
    dataset, name = parts(task)
    format, equality = FORMATS[name], DATASETS[dataset].equality
    rewards = load_rewards(format.rewards, format=format, equality=equality, language=LANGUAGES[name], prefix="")
    values = defaultdict(list)
    for sample in results["samples"][task]:
        reply, answer = sample["resps"][0][0], sample["doc"]["answer"]
        expected = score_text(reply, answer, format, equality, LANGUAGES[name]).scores
        expected |= {f"reward/{key}": value for key, value in rewards.score(reply, answer).scores.items()}
        scored = {key: value for key, value in expected.items() if value is not None}
        assert {key: sample[key] for key in sample["metrics"]} == scored
        for key, value in scored.items():
            values[key].append(value)
    assert len(values) == len(TEXT_METRICS) + len(rewards.names)
    means = results["results"][task]
    assert {key: means[f"{key},none"] for key in values} == pytest.approx({key: fmean(v) for key, v in values.items()})
    assert isinstance(means["format_strict_stderr,none"], float)


@needs_lm_eval
def test_what_cannot_be_scored_is_not_0(ask, caplog):
    """The third problem has no true answer."""
    right = {each.question: each.answer for each in word_problems.problems("test", "en")[:4]}
    said = ask(
        "gsm8k_xml", lambda question: f"<reasoning>\nWe add up.\n</reasoning>\n<answer>\n{right[question]}\n</answer>"
    )
    judged = {sample["doc"]["id"]: sample.get("accuracy_strict") for sample in said["samples"]["gsm8k_xml"]}
    assert judged == {f"gsm8k-test-{place:05d}": None if place == 2 else 1.0 for place in range(4)}
    means = said["results"]["gsm8k_xml"]
    assert (means["accuracy_strict,none"], means["format_strict,none"]) == (1.0, 1.0)
    assert (means["reward/correctness_reward_func,none"], means["sample_len"]) == (2.0, 4)
    assert "accuracy_strict,none=3" in caplog.text


@needs_lm_eval
def test_a_template_that_opens_the_reasoning(ask, data):
    """The tag with which the prompt ends is part of the reply; the template may state the system prompt itself."""
    config = configuration(
        "checkpoint=embedded", model=None, recipe="qwen3-8b", dataset="gsm8k", data=str(data["gsm8k"]), format="think"
    )

    def reply(_: str) -> str:
        return "Kita hitung dulu.\n</think>\n\n5"

    said = ask("gsm8k_think", reply, template=config.chat_template)
    samples = said["samples"]["gsm8k_think"]
    assert {sample["doc"]["id"]: sample["arguments"][0][0] for sample in samples} == harness_prompts(config)
    assert all(sample["arguments"][0][0].endswith("<think>") for sample in samples)
    assert [sample["format_strict"] for sample in samples] == [1.0] * 4
    assert [sample["reward/match_format_exactly"] for sample in samples] == [3.0] * 4
    said = ask("gsm8k_think", reply, apply_chat_template=False)
    assert said["results"]["gsm8k_think"]["format_strict,none"] == 0.0


@needs_lm_eval
@pytest.mark.parametrize("template", [REFUSES, IGNORES])
def test_a_system_prompt_that_a_template_drops_is_an_error(ask, model, template):
    """lm-eval asks on without it, with a warning where the template refuses, without one where it ignores it."""
    with pytest.raises(ValueError, match="gsm8k_xml: the chat template drops the system prompt"):
        ask("gsm8k_xml", str, template=template)
    assert model.apply_chat_template(formats.messages("Why?", "Be brief.")) == "Why?"


@needs_lm_eval
def test_without_a_chat_template_the_system_prompt_is_text(ask):
    said = ask("dapo_working_out", str, apply_chat_template=False, system_instruction="Be brief.")
    for sample in said["samples"]["dapo_working_out"]:
        asked = FORMATS["working-out"].instructions
        assert sample["arguments"][0][0] == f"Be brief.\n\n{asked}\n\n{sample['doc']['question']}"


@needs_lm_eval
def test_samples_are_known_by_their_own_id(ask, data):
    """lm-eval numbers them in the order in which they were asked for."""
    said = ask("gsm8k_xml", str, samples={"gsm8k_xml": [3, 0]})
    problems = evaluation_problems(configuration(dataset="gsm8k", data=str(data["gsm8k"]))).problems
    found = [(sample["doc"]["id"], sample["doc"]["question"]) for sample in said["samples"]["gsm8k_xml"]]
    assert found == [(problems[place].id, problems[place].question) for place in (0, 3)]
    assert [sample["filtered_resps"] for sample in said["samples"]["gsm8k_xml"]] == [[q] for _, q in found]


@needs_lm_eval
def test_reasoning_that_lm_eval_would_cut_off_is_an_error(data, tmp_path):
    from lm_eval.tasks import TaskManager

    cuts = {"think_end_token": "</think>"}
    manager = TaskManager(include_path=local_tasks(data, tmp_path), include_defaults=False, metadata=cuts)
    with pytest.raises(ValueError, match="leave think_end_token out"):
        manager.load(["gsm8k_think"])


@needs_lm_eval
def test_the_real_datasets_give_the_problems_of_harness(test_data, tmp_path):
    from lm_eval.tasks import TaskManager

    data = {"gsm8k": test_data / "gsm8k", "dapo": test_data / "dapo/integer_math.jsonl"}
    manager = TaskManager(include_path=local_tasks(data, tmp_path), include_defaults=False)
    for dataset, place in data.items():
        (task,) = manager.load([f"{dataset}_xml"])["tasks"].values()
        problems = evaluation_problems(configuration(dataset=dataset, data=str(place))).problems
        found = [(doc["id"], doc["question"], doc["answer"]) for doc in task.eval_docs]
        assert found == [(each.id, each.question, each.answer) for each in problems]
