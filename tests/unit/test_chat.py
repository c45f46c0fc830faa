"""One text for training and evaluation, whatever the chat template of a checkpoint is like."""

import json
import shutil

import pytest
from conftest import configuration, generate
from openai_server import Server

from harness.configure import configure
from harness.data import datasets
from harness.data.datasets import Dataset
from harness.errors import UserError
from harness.evaluation import evaluate, prompts
from harness.lmeval import extra_tasks
from harness.models import chat, checkpoint_checks, checkpoints, loading
from harness.parsing import formats
from harness.parsing.named_formats import FORMATS
from harness.types import Problem

QUESTION, SYSTEM = "How many are 3 and 4?", "Reply in the layout."
TURN = "<start_of_turn>{{ message['role'] }}\n{{ message['content'] }}<end_of_turn>\n"
TURNS = "{% for message in messages %}" + TURN + "{% endfor %}"
OPENS = "{% if add_generation_prompt %}<start_of_turn>assistant\n{% endif %}"
PLAIN = TURNS + OPENS
USER = f"<start_of_turn>user\n{QUESTION}<end_of_turn>\n<start_of_turn>assistant\n"
WITH_SYSTEM = f"<start_of_turn>system\n{SYSTEM}<end_of_turn>\n{USER}"
IN_USERS_TURN = USER.replace(QUESTION, f"{SYSTEM}\n\n{QUESTION}")
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + PLAIN
DROPS = "\n  {% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + PLAIN
SKIPS = TURNS.replace("messages %}", "messages if message['role'] != 'system' %}") + OPENS
LAST_ONLY = "<start_of_turn>user\n{{ messages[-1]['content'] }}<end_of_turn>\n" + OPENS
# Qwen3's switch, in short: without thinking the reasoning is closed before it begins.
SWITCH = "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
SWITCHES = PLAIN + SWITCH
# DeepSeek's way with an answered turn.
FORGETS = PLAIN.replace(
    "{{ message['content'] }}",
    "{{ message['content'].split('</think>')[-1] if message['role'] == 'assistant' else message['content'] }}",
)


@pytest.fixture(scope="module")
def tokenizer():
    return loading.load_tokenizer("embedded")


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(checkpoints.locate("embedded"), tmp_path / "model")


@pytest.mark.parametrize(
    ("template", "rendered", "moved"),
    [
        (PLAIN, WITH_SYSTEM, False),
        (REFUSES, IN_USERS_TURN, True),
        (DROPS, "\n" + IN_USERS_TURN, True),
        (SKIPS, IN_USERS_TURN, True),
        (LAST_ONLY, IN_USERS_TURN, True),
        ("\ufeff" + PLAIN, WITH_SYSTEM, False),
    ],
    ids=["has one", "refuses", "drops", "skips", "last turn only", "byte order mark"],
)
def test_a_system_prompt_always_reaches_the_model(tokenizer, template, rendered, moved):
    chat.settle(tokenizer, template, {}, "m")
    assert chat.render(tokenizer, formats.messages(QUESTION, SYSTEM)) == rendered
    assert chat.provenance(tokenizer) == ({"system_prompt": "in the user's turn"} if moved else {})
    without = chat.render(tokenizer, formats.messages(QUESTION, None))
    tokenizer.chat_template = template.removeprefix("\ufeff")
    assert without == chat.render(tokenizer, formats.messages(QUESTION, None))


def test_the_trainer_and_an_export_render_what_evaluation_renders(tokenizer, tmp_path):
    """TRL renders the messages itself, with nothing but the tokenizer; so does whoever loads an export."""
    from transformers import AutoTokenizer

    asked = formats.messages(QUESTION, SYSTEM)
    chat.settle(tokenizer, SKIPS + SWITCH, {"enable_thinking": False}, "m")
    prompt = chat.render(tokenizer, asked)
    assert prompt == IN_USERS_TURN + "<think></think>"
    batch = tokenizer.apply_chat_template(conversation=[asked], add_generation_prompt=True, tokenize=True)
    assert batch["input_ids"] == tokenizer([prompt], add_special_tokens=False)["input_ids"]
    tokenizer.save_pretrained(tmp_path)
    assert chat.render(AutoTokenizer.from_pretrained(tmp_path), asked) == prompt
    chat.settle(tokenizer, "", {}, "m")
    assert chat.provenance(tokenizer) == {"system_prompt": "in the user's turn"}


@pytest.mark.parametrize(
    "value", [True, False, 3, 0.5, "low", 'a "quoted" \\ {{ text }} %} \n é 😀', ["a", "b"]], ids=repr
)
def test_a_switch_reaches_the_template_as_it_is(tokenizer, value):
    """One that the renderer sets itself wins."""
    chat.settle(tokenizer, PLAIN + "{{ level | tojson }}", {"level": value}, "m")
    said = chat.render(tokenizer, formats.messages(QUESTION, None))
    assert json.loads(said.removeprefix(USER)) == value
    asked = formats.messages(QUESTION, None)
    assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, level=7) == USER + "7"


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"enable_thinkin": False}, "the chat template of m does not use enable_thinkin: leave it out"),
        ({"messages": "x"}, "does not use messages"),
    ],
)
def test_a_switch_that_the_template_has_not_is_named(tokenizer, switches, message):
    with pytest.raises(UserError, match=message):
        chat.settle(tokenizer, SWITCHES, switches, "m")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chat_template_kwargs=enable_thinking", "chat_template_kwargs = 'enable_thinking': input should be a valid"),
        ("chat_template_kwargs={'a b' = 1}", "chat_template_kwargs.*a b"),
        ("chat_template_kwargs={a = 2020-01-01}", "chat_template_kwargs.a"),
        ("chat_template_kwargs={a = inf}", "chat_template_kwargs.a"),
    ],
)
def test_switches_are_checked_with_the_recipe(text, message):
    with pytest.raises(UserError, match=message):
        configure("tiny", None, {}, [text])


def test_a_run_thinks_as_its_recipe_says(folder):
    """In the prompts of evaluation and in those of training; in the identity of the run."""
    from train.rows import prompts_of

    (folder / "chat_template.jinja").write_text(SWITCHES)
    settings = ("checkpoint=" + str(folder), "chat_template_kwargs={enable_thinking = false}", "eval_every=0")
    config, other = configuration(*settings, limit=2), configuration(settings[0])
    assert config.sha != other.sha
    problems = datasets.evaluation_problems(config)
    engine = evaluate.open_engine(config, None)
    rendered = [each.prompt for each in prompts.requests(config, problems, engine, False)]
    assert all(prompt.endswith("<start_of_turn>assistant\n<think></think>") for prompt in rendered)
    args = (config.checkpoint, config.chat_template, config.trust_remote_code, config.chat_template_kwargs)
    tokenizer = loading.load_tokenizer(*args)
    trained = prompts_of(config.model_copy(update={"prompts_per_step": 1}), problems, tokenizer)
    assert [chat.render(tokenizer, row["prompt"]) for row in trained.rows] == rendered


def test_a_server_that_renders_is_told_the_switches():
    from conftest import serving

    with serving(Server()) as server:
        arguments = {"base_url": server.url, "model": "base"}
        config = configuration(
            "chat_template_kwargs={enable_thinking = false}", engine="openai", engine_args=arguments, limit=2
        )
        generate(evaluate.open_engine(config, None), config)
    assert [each.get("chat_template_kwargs") for each in server.asked] == [{"enable_thinking": False}] * 2


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_tasks_of_lm_eval_are_asked_with_them_too(engine):
    config = configuration("chat_template_kwargs={enable_thinking = false}", engine=engine)
    assert extra_tasks._model_arguments(config, engine, None)["chat_template_args"] == {"enable_thinking": False}
    assert "chat_template_args" not in extra_tasks._model_arguments(configuration(engine=engine), engine, None)


TEMPLATES = [{"name": "rag", "template": "{{ 1 }}"}, {"name": "tool_use", "template": PLAIN}]


@pytest.mark.parametrize("stored", ["list", "table", "files"])
@pytest.mark.parametrize(
    ("chosen", "default", "rendered"),
    [
        ("", None, r"several chat templates \(rag, tool_use\) and none is called default: .* chat_template=NAME"),
        ("nothere", None, r"chat_template = nothere: no template's text, .jinja file or name .*rag, tool_use"),
        ("rag", None, "leaves the question out"),
        ("tool_use", None, WITH_SYSTEM),
        ("", SKIPS, IN_USERS_TURN),
        (PLAIN, SKIPS, WITH_SYSTEM),
    ],
)
def test_one_of_several_templates_is_chosen(folder, stored, chosen, default, rendered):
    named = TEMPLATES + ([{"name": "default", "template": default}] if default else [])
    (folder / "chat_template.jinja").unlink()
    if stored == "files":
        (folder / "additional_chat_templates").mkdir()
        for each in named:
            own = f"additional_chat_templates/{each['name']}.jinja"
            (folder / ("chat_template.jinja" if each["name"] == "default" else own)).write_text(each["template"])
    else:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        table = {each["name"]: each["template"] for each in named}
        settings["chat_template"] = named if stored == "list" else table
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    def asked() -> str:
        checkpoint_checks.check(str(folder), chosen)
        return chat.render(loading.load_tokenizer(str(folder), chosen), formats.messages(QUESTION, SYSTEM))

    if rendered.startswith("<start"):
        assert asked() == rendered
    else:
        with pytest.raises(UserError, match=rendered):
            asked()


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{{ messages + 1 }}", "{% if %}", "{{ x.y.z }}", "{{ raise_exception('never') }}"]
)
def test_a_template_that_breaks_is_one_line(tokenizer, template):
    with pytest.raises(UserError, match=r"chat template refuses the prompt .* chat_template=FILE"):
        chat.settle(tokenizer, template, {}, "m")


LESSON = Problem("1", QUESTION, "7", solution="Three and four are seven.")


@pytest.mark.parametrize(
    ("template", "format", "prompt", "rewritten"),
    [
        (PLAIN, "think", WITH_SYSTEM, 0),
        (PLAIN, "working-out", WITH_SYSTEM, 0),
        (FORGETS, "think", WITH_SYSTEM, 1),
        (FORGETS, "xml", WITH_SYSTEM, 0),
        (FORGETS + "{% if add_generation_prompt %}<think>\n{% endif %}", "think", WITH_SYSTEM + "<think>\n", 1),
        (PLAIN.replace("<end_of_turn>", ""), "think", WITH_SYSTEM.replace("<end_of_turn>", ""), 1),
    ],
    ids=["keeps", "keeps tags", "forgets", "forgets no tags", "forgets and opens", "ends no turn"],
)
def test_a_lesson_is_what_evaluation_goes_on_from(tokenizer, template, format, prompt, rewritten):
    from train.rows import solutions_of

    config = configuration(format=format).model_copy(update={"system_prompt": SYSTEM})
    chat.settle(tokenizer, template, {}, "m")
    lessons = solutions_of(config, Dataset("d", "train", (LESSON,), "number"), tokenizer)
    reply = formats.lay_out(LESSON.solution, LESSON.answer, FORMATS[format])
    if prompt.endswith("<think>\n"):
        reply = reply.removeprefix("<think>\n")
    text = tokenizer.decode(lessons.rows[0]["input_ids"])
    assert text.rstrip("\n") == f"{prompt}{reply}<end_of_turn>"
    assert lessons.rewritten == rewritten
