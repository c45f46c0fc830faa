"""Nothing is written that cannot be read back: every record of a run folder, with whatever values.

A record is either read again as it was written, or refused before anything is written.
"""

import json
import math
import types
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from fuzzing import ODD_NUMBERS, cases, texts
from hypothesis import given
from hypothesis import strategies as st

from harness.engines import agreement
from harness.statistics.compare import metrics_of
from harness.storage import result_files, schema, validation
from harness.storage.files import json_line, read_journal, read_json, read_steps
from harness.storage.journal import Journal
from harness.storage.run_record import RunRecord
from harness.types import ACCURACY_FLEXIBLE, ACCURACY_STRICT, Comparison, Completion, MetricValue, OverSeeds, Score

floats = st.one_of(st.sampled_from([each for each in ODD_NUMBERS if isinstance(each, float)]), st.floats())
integers = st.one_of(st.sampled_from([each for each in ODD_NUMBERS if isinstance(each, int)]), st.integers())
scores_of_one = st.dictionaries(texts, st.none() | floats | integers, max_size=3)


def values_of(hint: Any) -> st.SearchStrategy:
    """Values of a type, the odd ones among them."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (types.UnionType,) or (inner and types.NoneType in inner):
        return st.one_of(*map(values_of, inner))
    if origin is tuple:
        each = values_of(inner[0])
        return st.lists(each, max_size=3) if inner[-1] is ... else st.tuples(*map(values_of, inner)).map(list)
    if origin is dict:
        return st.dictionaries(texts, values_of(inner[1]), max_size=2)
    if is_dataclass(hint):
        return records_of(hint)
    plain = {int: integers, float: floats | integers, str: texts, bool: st.booleans(), types.NoneType: st.none()}
    return plain[hint] if hint in plain else st.dictionaries(texts, floats | integers | texts, max_size=2)


def records_of(kind: type) -> st.SearchStrategy:
    """Objects of JSON with a dataclass's fields, those with a default now and then left out."""
    hints = get_type_hints(kind)
    by_name = {each.name: values_of(hints[each.name]) for each in fields(kind)}
    may_lack = {each.name for each in fields(kind) if (each.default, each.default_factory) != (MISSING, MISSING)}
    required = {name: values for name, values in by_name.items() if name not in may_lack}
    return st.fixed_dictionaries(required, optional={name: by_name[name] for name in may_lack})


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON, NaN included."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def is_written(path: Path, write: Callable[..., None], kind: Any, value: Any) -> bool:
    """Whether a record was written; where it is refused nothing is."""
    try:
        write(kind, path, value)
    except ValueError:
        assert not path.exists()
        return False
    return True


def scored(rows: list[dict]) -> list[dict]:
    accuracies = {ACCURACY_STRICT: 1.0, ACCURACY_FLEXIBLE: None}
    return [row | {"problem_id": str(place), "scores": row["scores"] | accuracies} for place, row in enumerate(rows)]


FIX = "do it again"
OBJECTS = (schema.Record, schema.EffectiveConfig, schema.ExtraTaskMeans, schema.ExtraTaskDifferences, Comparison)
ROWS = (schema.Document, schema.Rollout, Completion, Score)


@pytest.mark.parametrize("kind", OBJECTS, ids=lambda kind: kind.__name__)
@cases("records: objects")
@given(data=st.data())
def test_an_object_is_read_as_it_was_written_or_not_written(kind, data):
    value = data.draw(records_of(kind))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.json"
        if not is_written(path, validation.write, kind, value):
            return
        assert alike(validation.read(kind, path, FIX), value)


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.__name__)
@cases("records: rows")
@given(data=st.data())
def test_rows_are_read_as_they_were_written_or_not_written(kind, data):
    rows = data.draw(st.lists(records_of(kind), max_size=3))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.jsonl"
        if not is_written(path, validation.write_rows, kind, rows):
            return
        assert alike(validation.check_all(kind, read_journal(path), path, FIX), rows)


@cases("records: journal")
@given(st.lists(records_of(Completion), max_size=3))
def test_a_journal_takes_only_what_it_gives_back(rows):
    written = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "completions.jsonl"
        with Journal(path) as journal:
            for place, row in enumerate(rows):
                completion = Completion(**row | {"problem_id": str(place), "position": place})
                try:
                    journal.append([completion])
                except ValueError:
                    continue
                written.append(completion)
        assert alike([asdict(each) for each in result_files.read_completions(path)], [asdict(each) for each in written])


@cases("records: scores")
@given(st.lists(records_of(Score), max_size=3).map(scored))
def test_scores_that_were_written_have_metrics_that_can_be_read(rows):
    with TemporaryDirectory() as folder:
        path, metrics = Path(folder) / "scores.jsonl", Path(folder) / "metrics.json"
        try:
            validation.write_rows(Score, path, rows)
        except ValueError:
            return
        scores = [*result_files.read_scores(path).values()]
        if any(math.isnan(value) for each in scores for value in each.scores.values() if value is not None):
            return
        if scores:
            means = {name: asdict(each) for name, each in metrics_of(scores).items()}
            validation.write(dict[str, MetricValue], metrics, means)
            assert alike({name: asdict(each) for name, each in result_files.read_metrics(metrics).items()}, means)


@cases("records: seeds")
@given(st.dictionaries(texts, records_of(OverSeeds), max_size=2))
def test_seeds_are_read_as_they_were_written_or_not_written(rows):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seeds.json"
        if not is_written(path, validation.write, dict[str, OverSeeds], rows):
            return
        assert alike({name: asdict(each) for name, each in result_files.read_seeds(path, FIX).items()}, rows)


@cases("records: run.json")
@given(records_of(schema.Record), records_of(schema.Record))
def test_run_json_stays_as_it_was_where_a_change_could_not_be_read(first, second):
    with TemporaryDirectory() as folder:
        record = RunRecord(Path(folder) / "run.json")
        kept = None
        for each in (first, second):
            try:
                record.write(each)
                kept = each
            except ValueError:
                pass
        assert not record.file.exists() if kept is None else alike(record.read(), kept)


@cases("records: training log")
@given(st.lists(st.dictionaries(texts, floats | integers | texts | st.none(), max_size=3), max_size=3))
def test_the_rows_of_a_training_log_are_read_as_they_were_written(rows):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        steps = [row | {"step": place} for place, row in enumerate(rows)]
        path.write_text("".join(map(json_line, steps)), encoding="utf-8")
        assert alike(read_steps(path), steps)


@cases("records: probes")
@given(records_of(agreement.Record))
def test_probes_are_written_as_json_that_fits_or_not_at_all(value):
    with TemporaryDirectory() as folder:
        path = Path(folder) / agreement.FILE
        if not is_written(path, validation.write, agreement.Record, value):
            return
        assert alike(read_json(path), value)
