"""The datasets that have a name: the address of each on the hub, one of its rows, and its licence."""

from dataclasses import dataclass

from harness.types import Equality


@dataclass(frozen=True)
class Source:
    """Where a named dataset is and how it is read, as its card on the hub says.

    `splits`: our name of each split, and the hub's; a dataset without `test` has a tenth of its problems held out for
    it, one without `train` is for evaluation alone.
    """

    address: str
    config: str
    splits: dict[str, str]
    question: str
    answer: str
    equality: Equality
    test_size: int | None
    licence: str
    about: str
    solution: str | None = None


# Licences as the cards at huggingface.co/datasets/ADDRESS state them, and where those are silent, those of the source.
DATASETS: dict[str, Source | None] = {
    # None is made by harness.data.word_problems: {"question": "Ani has 12 eggs …", "answer": "31"}
    "word-problems": None,
    # {"question": "Natalia sold clips to 48 …", "answer": "Natalia sold 48/2 = <<48/2=24>>24 …\n#### 72"}
    "gsm8k": Source(
        "openai/gsm8k", "main", {"train": "train", "test": "test"}, "question", "answer", "number", 1319, "MIT",
        "grade-school word problems with worked solutions, 7,473 to train and 1,319 to test", solution="answer",
    ),
    # {"question": …, "answer": "… #### 18", "cleaning_status": "consensus"}
    "gsm8k-platinum": Source(
        "madrylab/gsm8k-platinum", "main", {"test": "test"}, "question", "answer", "number", 1209, "MIT",
        "1,209 of GSM8K's test problems, answers revised, unclear problems taken out",
    ),
    # {"id": 0, "instance": 3, "question": …, "answer": "… #### 12", "original_question": …, "canary": …}
    "gsm-symbolic": Source(
        "apple/GSM-Symbolic", "main", {"test": "test"}, "question", "answer", "number", 5000, "CC-BY-NC-ND-4.0",
        "100 of GSM8K's test problems, each 50 times with other names and numbers; harder ones: configs p1 and p2",
    ),
    # {"prompt": "Let $x$ be …", "solution": "204", "data_source": "math_dapo", …}
    "dapo": Source(
        "open-r1/DAPO-Math-17k-Processed", "en", {"train": "train"}, "prompt", "solution", "math", None,
        "Apache-2.0, of BytedTsinghua-SIA/DAPO-Math-17k",
        "competition problems with integer answers; a tenth is held out by hash of the prompt",
    ),
    # {"problem": "Convert the point $(0,3)$ …", "solution": …, "answer": "\\left( 3, \\frac{\\pi}{2} \\right)", …}
    "math-500": Source(
        "HuggingFaceH4/MATH-500", "default", {"test": "test"}, "problem", "answer", "math", 500,
        "MIT, of openai/prm800k", "500 competition problems of MATH with formulae as answers", solution="solution",
    ),
    # {"id": 60, "problem": "Every morning Aya …", "solution": …, "answer": "204", "url": …, "year": "2024"}
    "aime24": Source(
        "HuggingFaceH4/aime_2024", "default", {"test": "train"}, "problem", "answer", "math", 30,
        "Apache-2.0, of AI-MO/aimo-validation-aime", "30 problems of AIME I and II 2024", solution="solution",
    ),
    # {"problem": "Find the sum of all integer bases …", "answer": "70", "id": "0"}
    "aime25": Source(
        "math-ai/aime25", "default", {"test": "test"}, "problem", "answer", "math", 30,
        "none stated", "30 problems of AIME I and II 2025",
    ),
    # {"problem": "Determine …", "generated_solution": "<think>\nOkay, …</think>…", "expected_answer": "4", …}
    "openmath-mini": Source(
        "unsloth/OpenMathReasoning-mini", "default", {"train": "cot"}, "problem", "expected_answer", "math", None,
        "CC-BY-4.0, of nvidia/OpenMathReasoning",
        "competition problems with worked solutions, for SFT; a tenth is held out by hash of the prompt",
        solution="generated_solution",
    ),
}  # fmt: skip
