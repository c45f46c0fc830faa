import pytest

from harness.parsing import formats
from harness.parsing.named_formats import FORMATS

WORKING, THINK, XML = FORMATS["working-out"], FORMATS["think"], FORMATS["xml"]
BLOCK = "<start_working_out>\n5 + 7\n<end_working_out>\n<SOLUTION>12</SOLUTION>"

# (format, reply, strict, share of tags that occur once, reasoning, answer)
REPLIES = [
    (WORKING, BLOCK, True, 1.0, "5 + 7", "12"),
    (WORKING, f"  {BLOCK}\n\n<end_of_turn>\n", True, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK}<end_of_turn><end_of_turn>", True, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK}<|end_of_text|>", True, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK} <|return|>\nuser: <SOLUTION>13</SOLUTION>", True, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK}[|endofturn|]13", True, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK}<|unknown|>", False, 1.0, "5 + 7", "12"),
    (WORKING, f"<|im_end|>{BLOCK}", False, 0.0, None, None),
    (WORKING, f"Sure! {BLOCK}", False, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK}\nDone.", False, 1.0, "5 + 7", "12"),
    (WORKING, f"{BLOCK}{BLOCK}", False, 0.0, "5 + 7", "12"),
    (WORKING, BLOCK.replace("</SOLUTION>", ""), False, 0.75, "5 + 7", None),
    (WORKING, BLOCK.replace("<SOLUTION>12</SOLUTION>", "12"), False, 0.5, "5 + 7", None),
    (WORKING, BLOCK.replace("12", " "), False, 1.0, "5 + 7", ""),
    (WORKING, BLOCK.replace("\n5 + 7\n", ""), False, 1.0, "", "12"),
    (WORKING, "<SOLUTION>12</SOLUTION><start_working_out>5<end_working_out>", False, 1.0, "5", "12"),
    (WORKING, "12", False, 0.0, None, None),
    (WORKING, "", False, 0.0, None, None),
    (THINK, "<think>lima</think>\nThe answer is 12.", True, 1.0, "lima", "12"),
    (THINK, r"<think>5</think> so 7 of 9: \boxed{12} of 40", True, 1.0, "5", "12"),
    (THINK, "<think>5</think>12<|im_end|>user 99", True, 1.0, "5", "12"),
    (THINK, "<think>5</think>", False, 1.0, "5", None),
    (THINK, "5</think>12", False, 0.5, None, "12"),
    (THINK, "<think>never closed 12", False, 0.5, None, None),
    (XML, "<reasoning>\n5 + 7\n</reasoning>\n<answer>\n12\n</answer>\n", True, 1.0, "5 + 7", "12"),
    (XML, "<answer>12</answer><reasoning>5</reasoning>", False, 1.0, "5", "12"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "reply", "strict", "share", "reasoning", "answer"), REPLIES)
def test_parse(format, reply, strict, share, reasoning, answer):
    parsed = formats.parse(reply, format)
    assert (parsed.strict, parsed.tag_share, parsed.reasoning, parsed.answer) == (strict, share, reasoning, answer)
    assert (formats.breach(reply, format) is None) == strict


@pytest.mark.parametrize("token", formats.END_TOKENS)
def test_every_known_end_token_ends_a_reply(token):
    assert formats.parse(f"{BLOCK}{token} and 99", WORKING).strict


def test_a_named_token_ends_a_reply_beside_the_known_ones():
    for token in ("<stop>", "<|im_end|>"):
        assert formats.parse(f"{BLOCK}{token} and 99", WORKING, eos="<stop>").strict
    assert not formats.parse(f"{BLOCK}<stop>", WORKING).strict


# (format, reply, its answer where it was cut off, and where it was not)
CUT_OFF = [
    (THINK, "<think>5</think> so 24 + 1", None, "24 + 1"),
    (THINK, "<think>5</think> so \\boxed{24} and 1", "24", "24"),
    (THINK, "<think>first 5, then 7", None, "7"),
    (THINK, "<think>The answer is 12, as 5 + 7", "12", "12"),
    (WORKING, BLOCK, "12", "12"),
    (WORKING, f"{BLOCK} and then 99", "12", "12"),
    (WORKING, "<start_working_out>5 + 7 = 12", None, "12"),
    (WORKING, "#### 12\nor", "12", "12"),
    (XML, "<reasoning>\n5\n</reasoning>\n<answer>\n12", None, "12"),
]


@pytest.mark.parametrize(("format", "reply", "cut_off", "finished"), CUT_OFF)
def test_a_reply_that_was_cut_off_has_only_the_answer_that_it_states(format, reply, cut_off, finished):
    for whole, answer in ((False, cut_off), (True, finished)):
        given = formats.final_answer(formats.parse(reply, format, finished=whole), whole)
        assert (given and given.text) == answer


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_the_prompt_names_every_tag_and_the_language_only_where_it_is_not_english(format):
    assert all(tag in formats.system_prompt(format, "id") for tag in format.tags)
    assert "Indonesian" in formats.system_prompt(format, "id")
    assert formats.system_prompt(format, "en") == formats.system_prompt(format, None) == format.instructions


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_the_chinese_prompt_names_every_tag_and_the_language_only_where_it_is_not_chinese(format):
    asked = {each: formats.system_prompt(format, each, in_chinese=True) for each in ("id", "en", "zh", None)}
    assert all(tag in format.chinese for tag in format.tags)
    assert asked["id"] == f"{format.chinese}\n你必须用印度尼西亚语思考。"
    assert asked["en"] == f"{format.chinese}\n你必须用英语思考。"
    assert asked["zh"] == asked[None] == format.chinese


@pytest.mark.parametrize(
    ("prompt", "prefix"), [("…model\n<think>\n", "<think>"), ("…model\n", ""), ("<think> and then", "")]
)
def test_an_opening_tag_that_ends_the_prompt_belongs_to_the_reply(prompt, prefix):
    assert formats.prompt_prefix(prompt, THINK) == prefix


@pytest.mark.parametrize("name", FORMATS)
def test_a_reply_laid_out_here_keeps_the_layout(name):
    reply = formats.lay_out("<think>Two and two</think> make 4.", "4", FORMATS[name])
    parsed = formats.parse(reply, FORMATS[name])
    assert parsed.strict
    assert parsed.answer == "4"
    assert "Two and two make 4." in " ".join(parsed.reasoning.split())
