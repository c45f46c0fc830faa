"""Replies that are empty, without an end or no UTF-8: kept as they are, graded as data, shown on the page."""

import json

from conftest import configuration, serving
from openai_server import Server, completion

from harness.cli.stage_functions import run_stage
from harness.evaluation import evaluate
from harness.storage.run_folder import Run

LONG = "Wir zählen. " * 10_000
RIGHT = "<start_working_out>\nWe\nfind\n<end_working_out>\n<SOLUTION>{}</SOLUTION>"


def body(text: object, finish_reason: str = "stop", **message: object) -> bytes:
    return json.dumps(completion(text, finish_reason, **message)).encode()


# What the server sends, and the reply that is kept.
ODD = {
    "nothing": (body(""), ""),
    "null": (body(None), ""),
    "white space": (body(" \n\t"), " \n\t"),
    "cut off": (body("<start_working_out>\n1 + 1", "length"), "<start_working_out>\n1 + 1"),
    "cut off at once": (body("", "length"), ""),
    "a refusal": (body(None, "content_filter"), ""),
    "without an end": (body(LONG, "length"), LONG),
    "one word without an end": (body("a" * 200_000, "length"), "a" * 200_000),
    "no UTF-8": (body("We find 4X").replace(b"4X", b"4\xff\xc3("), "We find 4\ufffd\ufffd("),
    "half of a pair": (body("We find \ud83d 4 \udc00"), "We find \ufffd 4 \ufffd"),
    "a whole pair": (body("We find \U0001f600"), "We find \U0001f600"),
    "controls": (body("\x00\x1b[31m\u2028</script>"), "\x00\x1b[31m\u2028</script>"),
    "no UTF-8 in the layout": (body(RIGHT.format("X7")).replace(b"X7", b"\xfe7"), RIGHT.format("\ufffd7")),
}


def test_odd_replies_go_all_the_way(tmp_path):
    with serving(Server()) as server:
        said = [sent for sent, _ in ODD.values()]
        server.misbehave = lambda count: lambda handler: handler.answer(200, said[count - 1])
        arguments = {"base_url": server.url, "model": "base", "concurrency": "1", "retries": "0"}
        config = configuration(limit=len(ODD), engine="openai", engine_args=arguments)
        run = Run.create(tmp_path / "run", config, "harness run")
        evaluate.evaluate(run, ["before"], None, True, None)
    kept = {each.position: each for each in run.completions("before")}
    assert {name: kept[place].text for place, name in enumerate(ODD)} == {name: text for name, (_, text) in ODD.items()}
    cut_off = {name for place, name in enumerate(ODD) if kept[place].finish_reason == "length"}
    assert cut_off == {"cut off", "cut off at once", "without an end", "one word without an end"}
    scores = {name: run.evaluation("before").scores[place] for place, name in enumerate(ODD)}
    assert all(score.scores["accuracy_strict"] == 0 and not score.reasons for score in scores.values())
    assert {name for name, score in scores.items() if score.scores["truncated"]} == cut_off
    assert {name for name, score in scores.items() if score.language == "und"} >= {"nothing", "null", "white space"}
    run_stage(run, "report", quiet=True)
    page = run.report.read_text(encoding="utf-8")
    assert not {"\x00", "\x1b"} & set(page)
    markdown = run.report.with_name("report.md").read_text(encoding="utf-8")
    assert markdown.count("\n") > 10
    finished = f"among the {len(ODD) - len(cut_off)} replies that were not cut off at the limit: accuracy"
    assert finished in page
    assert finished in markdown
    assert len(page) < 2_000_000


def test_a_served_name_that_is_no_utf_8(harness, tmp_path):
    def served(handler):
        handler.answer(200, {"object": "list", "data": [{"id": "m\ud800", "object": "model", "owned_by": "x\udfff"}]})

    with serving(Server()) as server:
        server.models = served
        done = harness("eval", "--engine", "openai", "--engine-arg", f"base_url={server.url}", "--limit", "1",
                       "--output", "r")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert server.asked[0]["model"] == "m\ufffd"
