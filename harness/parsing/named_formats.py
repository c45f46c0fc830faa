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
        chinese=(
            "请解答下面的题目。把求解过程写在 <start_working_out> 与 <end_working_out> 之间，"
            "再把结果单独写在 <SOLUTION> 与 </SOLUTION> 之间。"
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
        chinese="请解答下面的题目。先在 <think> 与 </think> 之间一步一步地思考，再写出结果。",
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
        chinese=(
            "请解答下面的题目。请按下面的格式回答，每个标签单独占一行：\n"
            "<reasoning>\n求解过程\n</reasoning>\n<answer>\n只写结果\n</answer>"
        ),
        rewards="xml",
    ),
}
DEFAULT_FORMAT = next(iter(FORMATS))
FORMAT_NAMES = " or ".join(", ".join(FORMATS).rsplit(", ", 1))
