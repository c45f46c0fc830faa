"""The loop that generates with transformers: which rows the model gets, when they leave, how tokens are chosen."""

import pytest
import torch
from conftest import configuration, generate
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.generation import logits_process

from harness.data import datasets
from harness.engines import decoding, sampling
from harness.evaluation import evaluate, prompts

SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "max_position_embeddings": 256,
}  # fmt: skip
# Full attention, rotations that depend on a length, at which Phi-3 also drops its cache, windows narrower than the
# prompts, several kinds of tokens, and states of a fixed size in place of keys and values. With each, the rows and
# columns that are read first of prompts of at most 50 tokens that begin with the same 20.
MODELS = [
    ("llama", {}, [(1, 20), (7, 30)]),
    ("qwen3", {}, [(1, 20), (7, 30)]),
    ("olmo2", {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}}, [(7, 50)]),
    ("phi3", {"original_max_position_embeddings": 32}, [(1, 20), (7, 50)]),
    (
        "gemma3_text",
        {"sliding_window": 6, "layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
        [(1, 5), (7, 45)],
    ),
    ("gpt2", {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}, [(7, 50)]),
    (
        "qwen3_5_text",
        {
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
            "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
        [(7, 50)],
    ),
    ("mamba", {"state_size": 4}, [(7, 50)]),
]  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    return evaluate.open_engine(configuration(), None)


def batch(widths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Random prompts of these lengths, padded on the left, and their mask."""
    mask = torch.tensor([[0] * (max(widths) - width) + [1] * width for width in widths])
    return torch.randint(1, 64, mask.shape, generator=torch.Generator().manual_seed(1)) * mask, mask


@pytest.mark.parametrize("places", [range(7), [0, 0, 3, 5, 5, 6, 4, 2, 1]], ids=["different", "repeated"])
@pytest.mark.parametrize("begin_alike", [False, True], ids=["from the first token on", "with one beginning"])
@pytest.mark.parametrize(("kind", "values", "read"), MODELS, ids=[kind for kind, *_ in MODELS])
def test_the_loop_generates_what_transformers_does(kind, values, read, begin_alike, places, monkeypatch):
    monkeypatch.setattr(decoding, "SHARED_TOKENS", 1)
    torch.manual_seed(0)
    # With larger weights than usual the next token is not the last one's alone.
    config = AutoConfig.for_model(kind, **SHAPE | values, initializer_range=0.3)
    reference = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model = AutoModelForCausalLM.from_config(config).eval()
    model.load_state_dict(reference.state_dict())
    # One prompt is the beginning alone, and is padded by more than that.
    ids, mask = batch([29, 24, 50, 37, 50, 20, 47] if begin_alike else [9, 4, 12, 7, 12, 1, 10])
    if begin_alike:
        for row, start in enumerate(mask.argmax(1).tolist()):
            ids[row, start : start + 20] = torch.arange(1, 21)
    ids, mask = ids[list(places)], mask[list(places)]
    given = []
    model.register_forward_pre_hook(
        lambda model, args, inputs: given.append(inputs["input_ids"].shape), with_kwargs=True
    )
    ends = set(range(3, 64, 8))
    # Without its cache, which transformers' own loop loses at Phi-3's length.
    expected = reference.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=80,
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=0,
        use_cache=False,
    )[:, ids.shape[1] :].tolist()
    finished = list(decoding.decode(model, ids, mask, lambda logits, *_: logits.argmax(-1), ends, [80] * len(ids)))
    completions = dict(each for step in finished for each in step)
    assert [row[: len(completions[place])] for place, row in enumerate(expected)] == [
        completions[place] for place in range(len(ids))
    ]
    assert all(set(row[len(completions[place]) :]) <= {0} for place, row in enumerate(expected))
    assert len(finished) > 1
    expected_reads = read if begin_alike else [(7, 12)]
    assert given[: len(expected_reads)] == expected_reads


def chosen_in_turn(tokens: list[list[int]]) -> decoding.Sampler:
    """Chooses a row's tokens from a list, whatever the logits."""
    return lambda logits, rows, step: torch.tensor([tokens[row][step] for row in rows.tolist()])


@pytest.mark.parametrize(
    ("tokens", "rooms", "steps"),
    [
        ([[5, 9]], [8], [{0}]),
        ([[9], [5, 9]], [8, 8], [{0}, {1}]),
        ([[5, 5], [6], [7, 8]], [2, 1, 2], [{1}, {0, 2}]),
        ([[5], [9], [6]], [1, 1, 1], [{0, 1, 2}]),
        ([[9], [9], [6, 7, 8], [9], [5, 9]], [3] * 5, [{0, 1, 3}, {4}, {2}]),
    ],
)
def test_rows_end_with_an_end_token_or_at_their_room(engine, tokens, rooms, steps):
    ids, mask = batch([3] * len(tokens))
    found = list(decoding.decode(engine.model, ids, mask, chosen_in_turn(tokens), {9}, rooms))
    assert [{row for row, _ in step} for step in found] == steps
    assert dict(each for step in found for each in step) == dict(enumerate(tokens))


def test_finished_rows_are_not_given_to_the_model(engine):
    config = configuration(limit=12)
    given = []
    hook = engine.model.register_forward_pre_hook(
        lambda model, args, inputs: given.append(len(inputs["input_ids"])), with_kwargs=True
    )
    completions = generate(engine, config).values()
    hook.remove()
    beginning, *rows = given
    assert beginning == 1
    assert sum(rows) == sum(each.n_tokens for each in completions)
    assert len(rows) == max(each.n_tokens for each in completions)


def test_rows_of_one_prompt_go_their_own_ways_after_it_was_read_once(engine):
    tokens = [[5, 9], [6, 7, 8, 9], [9], [7, 7, 7, 9], [8, 9]]
    ids, mask = (each[[0, 1, 0, 0, 1]] for each in batch([3, 5]))
    given, together = [], {}
    hook = engine.model.register_forward_hook(lambda model, args, output: given.append(output.logits[:, -1]))
    for step, finished in enumerate(decoding.decode(engine.model, ids, mask, chosen_in_turn(tokens), {9}, [8] * 5)):
        together |= dict(finished)
        assert {row for row, _ in finished} == [{2}, {0, 4}, {1, 3}][step]
    shared = given[:]
    given.clear()
    alone = decoding.decode(engine.model, ids[3:4], mask[3:4], chosen_in_turn([tokens[3]]), {9}, [8])
    assert together == dict(enumerate(tokens))
    assert next(alone) == [(0, tokens[3])]
    hook.remove()
    assert [len(logits) for logits in shared] == [2, 4, 2, 2]
    for expected, logits in zip(given, shared, strict=True):
        assert (logits - expected).abs().amax(1).min() < 1e-4


@pytest.mark.parametrize("size", [1, 3, 64])
def test_completions_do_not_depend_on_the_size_of_a_batch(engine, monkeypatch, size):
    config = configuration(limit=10)
    expected = generate(engine, config)
    monkeypatch.setattr(engine, "batch_size", size)
    assert generate(engine, config) == expected


@pytest.mark.parametrize("taken", [1, 3, 7])
def test_a_batch_that_was_cut_short_goes_on_with_the_same_completions(engine, monkeypatch, taken):
    config = configuration(limit=10)
    monkeypatch.setattr(engine, "batch_size", 6)
    whole = generate(engine, config)
    asked = prompts.requests(config, datasets.evaluation_problems(config), engine, False)
    finished = engine.generate(asked, frozenset(), config.sampling)
    kept = [each for _ in range(taken) for each in next(finished)]
    finished.close()
    assert len(kept) < len(asked)
    rest = engine.generate(asked, {request.key for request, _ in kept}, config.sampling)
    new = [each for step in rest for each in step]
    assert not {request.place for request, _ in kept} & {request.place for request, _ in new}
    assert {request.place: completion for request, completion in [*kept, *new]} == whole


@pytest.mark.parametrize("top_k", [0, 1, 5, 50, 5000])
@pytest.mark.parametrize(("top_p", "min_p"), [(1.0, 0.0), (0.9, 0.0), (1.0, 0.05), (0.8, 0.1)])
@pytest.mark.parametrize("words", [7, 256, 1000])
def test_sampling_inverts_the_cumulative_distribution_in_vocabulary_order(engine, top_k, top_p, min_p, words):
    config = configuration(f"top_k={top_k}", f"top_p={top_p}", f"min_p={min_p}", "temperature=0.7", limit=200)
    asked = prompts.requests(config, datasets.evaluation_problems(config), engine, False)
    sample = sampling.sampler(asked, config.sampling, "cpu")
    logits = 2 * torch.randn(len(asked), words, generator=torch.Generator().manual_seed(words))
    if top_p == 1:  # which of several equal words top_p cuts off depends on how they are sorted
        logits = logits.round()
    scores = logits_process.TemperatureLogitsWarper(0.7)(None, logits)
    if top_k:
        scores = logits_process.TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = logits_process.TopPLogitsWarper(top_p)(None, scores)
    if min_p:
        scores = logits_process.MinPLogitsWarper(min_p)(None, scores)
    cumulative = scores.double().softmax(-1).cumsum(-1)
    targets = sample.uniform[:, 3:4] * cumulative[:, -1:]
    expected = torch.searchsorted(cumulative, targets, right=True)[:, 0]
    assert sample(logits, torch.arange(len(asked)), 3).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("weights", "uniform", "word"),
    [
        ([1, 1, 1, 1], 0.0, 0),
        ([1, 1, 1, 1], 0.25, 1),
        ([1, 1, 1, 1], 1.0, 3),
        ([0, 0, 1, 0], 0.0, 2),
        ([0, 0, 1, 0], 1.0, 2),
        ([0] * 300 + [1] + [0] * 300, 0.5, 300),
        ([0] * 255 + [1, 1] + [0] * 300, 0.5, 256),
        ([0] * 255 + [1, 1] + [0] * 300, 1.0, 256),
    ],
)
def test_a_word_without_weight_is_never_chosen(weights, uniform, word):
    scores = torch.tensor([weights], dtype=torch.float32).log()
    assert sampling.invert(scores, torch.tensor([uniform], dtype=torch.float64)).tolist() == [word]
