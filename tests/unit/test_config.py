from pathlib import Path

import pytest
from jinja2 import Environment

from harness.configure import configure, recipe_names
from harness.errors import UserError
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS


def test_options_and_set_win_over_the_recipe():
    assert configure("tiny", None, {}, []).steps == 40
    assert configure("tiny", None, {"seed": 5}, ["steps=7", "learning_rate=2e-4", "trainer=trl"]).steps == 7


def test_a_format_brings_its_rewards_and_language():
    think = configure("tiny", None, {"format": "think"}, [])
    assert (think.rewards, think.language) == ("deepseek-r1", "id")
    assert configure("tiny", None, {"format": "think"}, ["rewards=gemma3"]).rewards == "gemma3"
    assert configure("tiny", None, {"language": "none"}, []).target_language is None


def test_a_folder_without_a_model_does_not_hide_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert configure("tiny", None, {}, []).checkpoint == "embedded"
    (tmp_path / "tiny/config.json").touch()
    assert configure("tiny", None, {}, []).checkpoint == str(tmp_path / "tiny")


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_opens_with_its_command(name):
    from harness.configure import RECIPES

    first = (RECIPES / f"{name}.toml").read_text().split("\n")[0]
    assert first == f"# harness run --model {name} --before-after"
    assert configure(name, None, {}, []).name == name


def test_a_language_may_be_called_by_its_name():
    assert configure("tiny", None, {"language": "Indonesian"}, []).language == "id"


def test_a_checkpoint_takes_another_recipes_figures(tmp_path):
    config = configure(str(tmp_path), "tiny", {}, [])
    assert (config.checkpoint, config.dataset, config.steps) == (str(tmp_path), "word-problems", 40)
    assert configure("google/gemma-3-1b-it", None, {}, []).dataset == "gsm8k"


MISTAKES = [
    ("tyni", None, {}, [], "unknown model 'tyni': did you mean 'tiny'"),
    ("./nowhere", None, {}, [], "no checkpoint folder"),
    ("tiny", "tinny", {}, [], "unknown recipe 'tinny': did you mean 'tiny'"),
    ("tiny", "no.toml", {}, [], "no recipe file no.toml"),
    ("tiny", None, {"format": "xlm"}, [], "unknown format 'xlm': did you mean 'xml'"),
    ("tiny", None, {"language": "idn"}, [], "unknown language 'idn': did you mean 'id'"),
    ("tiny", None, {"limit": 0}, [], "limit = 0: .*greater than or equal to 1"),
    ("tiny", None, {}, ["stepps=3"], "unknown recipe key 'stepps': did you mean 'steps'"),
    ("tiny", None, {}, ["steps=many"], "steps = 'many'"),
    ("tiny", None, {}, ["steps"], "write --set key=value"),
    ("tiny", None, {"format": "XML"}, [], "did you mean 'xml'"),
    ("tiny", None, {}, ["format=3"], "unknown format '3'"),
    ("tiny", None, {}, ["learning_rate=inf"], "learning_rate"),
    ("tiny", None, {}, ["seed=5000000000"], "seed"),
    ("tiny", "./nowhere", {}, [], "ends in .toml"),
]


@pytest.mark.parametrize(("model", "recipe", "options", "settings", "message"), MISTAKES)
def test_mistakes_are_named(model, recipe, options, settings, message):
    with pytest.raises(UserError, match=message):
        configure(model, recipe, options, settings)


def test_a_broken_recipe_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text("# mine\nsteps = = 3\n")
    with pytest.raises(UserError, match=r"my\.toml: .*line 2"):
        configure("tiny", str(path), {}, [])


def test_another_format_than_the_recipes_brings_rewards_of_its_own():
    assert configure("qwen3-8b", None, {}, []).rewards == "qwen3"
    assert configure("qwen3-8b", None, {"format": "xml"}, []).rewards == "xml"
    assert configure("qwen3-8b", None, {"format": "xml"}, ["rewards=gemma3"]).rewards == "gemma3"


RECIPE = 'format = "think"\nlanguage = "fr"\nrewards = "mine.py"\n'


@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        ({}, [], ("think", "mine.py", True, "fr")),
        ({"format": "think"}, [], ("think", "mine.py", True, "fr")),
        ({"format": "xml"}, [], ("xml", "xml", False, "en")),
        ({}, ["format=xml"], ("xml", "xml", False, "en")),
        ({"format": "xml"}, ["format=think"], ("think", "mine.py", True, "fr")),
        ({}, ["format=xml", "language=id"], ("xml", "xml", False, "id")),
        ({}, ["rewards=gemma3"], ("think", "gemma3", False, "fr")),
    ],
)
def test_a_format_means_the_same_by_its_option_and_by_set(tmp_path, options, settings, expected):
    (tmp_path / "mine.toml").write_text(RECIPE)
    (tmp_path / "mine.py").write_text("def mine(completions, **_):\n    return [1.0]\n")
    config = configure("tiny", str(tmp_path / "mine.toml"), options, settings)
    assert (config.format, Path(config.rewards).name, config.rewards_sha != "", config.language) == expected


def test_a_chat_template_knows_its_format():
    template = configure("qwen3-8b", None, {}, []).chat_template
    assert "<start_working_out>" in template
    assert "HARNESS_" not in template
    assert "<reasoning>" in configure("qwen3-8b", None, {"format": "xml"}, []).chat_template


def test_a_chat_templates_own_instructions_are_in_the_language_of_the_system_prompt():
    template = configure("qwen3-8b", None, {}, ["system_prompt=chinese", "language=id"]).chat_template
    turns = {"messages": [{"role": "user", "content": "Why?"}], "eos_token": ".", "add_generation_prompt": True}
    asked = formats.system_prompt(FORMATS["working-out"], "id", in_chinese=True)
    assert Environment().from_string(template).render(turns) == f"{asked}.Why?<start_working_out>"


def test_a_recipe_names_files_beside_itself(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/own.jinja").write_text("{{ messages[0]['content'] }}")
    (tmp_path / "mine/my.toml").write_text('checkpoint = "embedded"\nchat_template = "own.jinja"\nrewards = "r.py"\n')
    config = configure(None, str(tmp_path / "mine/my.toml"), {}, [])
    assert config.chat_template == "{{ messages[0]['content'] }}"
    assert config.rewards == str(tmp_path / "mine/r.py")
    (tmp_path / "mine/sums.csv").write_text("question,answer\n1 + 1?,2\n")
    (tmp_path / "mine/model").mkdir()
    (tmp_path / "mine/model/config.json").write_text("{}")
    (tmp_path / "mine/more.toml").write_text('checkpoint = "model"\ndataset = "sums.csv"\nsft_dataset = "dapo"\n')
    config = configure(None, str(tmp_path / "mine/more.toml"), {}, [])
    assert (config.checkpoint, config.dataset) == (str(tmp_path / "mine/model"), str(tmp_path / "mine/sums.csv"))
    assert config.sft_dataset == "dapo"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"chat_template: .*nothere\.jinja cannot be read"):
        configure("tiny", None, {}, ["chat_template=nothere.jinja"])


FIGURES = [
    ("gemma3-4b", {"lora_rank": 8, "steps": 50, "learning_rate": 5e-6, "max_grad_norm": 0.1, "adam_beta2": 0.99}),
    ("gemma3-4b-xml", {"format": "xml", "rewards": "xml", "steps": 250, "dataset": "gsm8k"}),
    ("deepseek-r1-qwen3-8b", {"weights": "4-bit", "lora_rank": 32, "lora_alpha": 64, "language": "id", "steps": 100}),
    ("qwen3-8b", {"max_sequence": 2048, "rollout_min_p": 0.1, "sft_dataset": "openmath-mini", "sft_epochs": 2.0}),
]


@pytest.mark.parametrize(("name", "figures"), FIGURES)
def test_the_recipes_have_the_tutorials_figures(name, figures):
    config = configure(name, None, {}, [])
    assert {key: getattr(config, key) for key in figures} == figures
    assert (config.beta, config.loss_type, config.generations, config.seed) == (0.04, "grpo", 4, 3407)
