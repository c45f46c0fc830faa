"""The formats by name. An entry here is all that a new one takes; the first is used where none is named."""

from harness.types import Format

FORMATS = {
    "working-out": Format(
        name="working-out",
        reasoning_tags=("<start_working_out>", "<end_working_out>"),
        answer_tags=("<SOLUTION>", "</SOLUTION>"),
        layout="<start_working_out>{reasoning}<end_working_out><SOLUTION>{answer}</SOLUTION>",
        instructions=(
            "Solve the problem that follows. Write how you reach the result between "
            "<start_working_out> and <end_working_out>, then the result alone between <SOLUTION> and </SOLUTION>."
        ),
        rewards="gemma3",
    ),
    "think": Format(
        name="think",
        reasoning_tags=("<think>", "</think>"),
        answer_tags=None,
        layout="<think>\n{reasoning}\n</think>\n\n{answer}",
        instructions=(
            "Solve the problem that follows. Think about it step by step between <think> and </think>, "
            "then state the result."
        ),
        rewards="deepseek-r1",
        language="id",
    ),
    "xml": Format(
        name="xml",
        reasoning_tags=("<reasoning>", "</reasoning>"),
        answer_tags=("<answer>", "</answer>"),
        layout="<reasoning>\n{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>",
        instructions=(
            "Solve the problem that follows. Reply in this layout, with each tag on a line of its own:\n"
            "<reasoning>\nhow you reach the result\n</reasoning>\n<answer>\nthe result alone\n</answer>"
        ),
        rewards="xml",
    ),
}
DEFAULT_FORMAT = next(iter(FORMATS))
FORMAT_NAMES = " or ".join(", ".join(FORMATS).rsplit(", ", 1))
