"""The share that one document has in a metric of lm-eval's, so that two sides can be paired document by document.

A mean is paired as it is. A perplexity is the exponential of a mean: documents carry log-likelihoods, so its logarithm
is compared, the mean of minus those, of which less is better; where documents weigh as much as their words or bytes,
that is the weighted mean. Of anything else (F1, BLEU, a median, …) no document has a share of its own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.storage.validation import LARGEST_NUMBER


@dataclass(frozen=True)
class Meaning:
    """How a metric's figure is the sum of its documents' shares over the sum of their weights.

    `title` makes the name of what is compared out of the metric's; `factor` makes a share out of a document's value,
    which is a pair with its weight if `weighted`.
    """

    title: str = "{}"
    factor: float = 1.0
    weighted: bool = False

    def share(self, value: Any) -> tuple[float, float] | None:
        """A document's share and weight; None if its value is of another kind."""
        both = value if self.weighted and isinstance(value, list | tuple) else (value, 1.0)
        if len(both) != 2 or not all(isinstance(each, int | float) for each in both) or not both[1] > 0:
            return None
        # A NaN is not less than anything.
        if not all(abs(each) < LARGEST_NUMBER for each in both):
            return None
        return self.factor * both[0], float(both[1])


# By the names of lm-eval's own registry of aggregations.
MEANINGS = {
    "mean": Meaning(),
    "nanmean": Meaning(),
    "perplexity": Meaning("log({})", factor=-1.0),
    "weighted_perplexity": Meaning("log({})", factor=-1.0, weighted=True),
    "bits_per_byte": Meaning(factor=-1 / math.log(2), weighted=True),
}


def aggregations(task: Any) -> dict[str, str]:
    """The aggregation of each metric of a task: the registry's name, else the function's own."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY, get_aggregation

    names: dict[Callable, str] = {get_aggregation(name): name for name in AGGREGATION_REGISTRY}
    return {metric: names.get(function) or _name(function) for metric, function in task.aggregation().items()}


def why_not(aggregation: str | None) -> str | None:
    """Why documents cannot be paired under an aggregation; None if they can."""
    return None if aggregation in MEANINGS else f"aggregated by {aggregation}, which is no mean over documents"


def shares(sample: Mapping[str, Any], by: Mapping[str, str]) -> tuple[dict, dict, dict]:
    """Shares and weights of a sample by title, and why other metrics have none.

    `by`: the aggregation of each metric.
    """
    scores, weights, left_out = {}, {}, {}
    for metric in sample["metrics"]:
        aggregation = by.get(metric)
        if reason := why_not(aggregation):
            left_out[metric] = reason
            continue
        meaning = MEANINGS[aggregation]
        share = meaning.share(sample[metric])
        title = meaning.title.format(metric)
        if share is None:
            left_out[title] = "its documents have no number"
            continue
        scores[title] = share[0]
        if meaning.weighted:
            weights[title] = share[1]
    return scores, weights, left_out


def metric_of(title: str) -> str:
    """The metric behind a title."""
    return title.removeprefix("log(").removesuffix(")") if title.startswith("log(") else title


def _name(function: Any) -> str:
    return getattr(function, "__name__", None) or type(function).__name__
