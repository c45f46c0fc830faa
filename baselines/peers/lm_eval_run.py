"""One run of lm-eval's vLLM backend over prompts that are rendered already.

    python -m baselines.peers.lm_eval_run SETTINGS.json

SETTINGS: {prompts: a JSONL file of {prompt, answer}, sampling: lm-eval's settings of generation, model_args: of its
vllm model}. Prints, as its last line, {load_seconds, run_seconds, replies}.
"""

import json
import sys
import time
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.models.vllm_causallms import VLLM


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    started = time.perf_counter()
    model = VLLM(**settings["model_args"])
    loaded = time.perf_counter()
    task = {
        "task": "prompts",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": settings["prompts"]}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [], **settings["sampling"]},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    results = simple_evaluate(model=model, tasks=[task], log_samples=True, bootstrap_iters=0)
    figures = {
        "load_seconds": loaded - started,
        "run_seconds": time.perf_counter() - loaded,
        "replies": len(results["samples"]["prompts"]),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
