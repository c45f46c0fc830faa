"""Which GPUs there are, where replicas run on them, and which requests each of them gets."""

import os
from collections import Counter

import pytest

from harness.engines import gpus, slurm
from harness.engines.gpus import Place
from harness.engines.replicas import shares_of
from harness.errors import UserError
from harness.types import Problem, Request


@pytest.mark.parametrize(
    ("variable", "count", "names"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("-1", 0, []),
        ("3", 1, ["3"]),
        ("2, 0", 2, ["2", "0"]),
        # CUDA takes none behind a name that is none.
        ("1,-1,0", 1, ["1"]),
        ("GPU-8f2a,GPU-11b0", 2, ["GPU-8f2a", "GPU-11b0"]),
        ("MIG-4d1c", 1, ["MIG-4d1c"]),
    ],
)
def test_names_of_the_gpus_that_are_seen(variable, count, names):
    assert gpus.names_of(variable, count) == names


FOUR = ["4", "5", "6", "7"]


@pytest.mark.parametrize(
    ("engine", "arguments", "replies", "seen", "places"),
    [
        ("vllm", {}, 1000, FOUR, FOUR),
        ("vllm", {}, 129, FOUR, ["4", "5"]),
        ("vllm", {}, 127, FOUR, ["4"]),
        ("vllm", {"tensor_parallel_size": "2"}, 1000, FOUR, ["4,5", "6,7"]),
        ("vllm", {"tensor_parallel_size": "3"}, 1000, FOUR, ["4,5,6"]),
        ("vllm", {"tensor_parallel_size": "2", "pipeline_parallel_size": "2"}, 1000, FOUR, ["4,5,6,7"]),
        ("vllm", {"distributed_executor_backend": "ray"}, 1000, FOUR, ["4"]),
        ("vllm", {"data_parallel_size": "3"}, 5, FOUR, ["4", "5", "6"]),
        ("vllm", {"data_parallel_size": "1"}, 1000, FOUR, ["4"]),
        ("vllm", {}, 1000, [], []),
        ("vllm", {"data_parallel_size": "1"}, 1000, [], []),
        ("transformers", {}, 1000, FOUR, ["4"]),
        ("transformers", {"data_parallel_size": "2"}, 5, FOUR, ["4", "5"]),
        ("transformers", {"data_parallel_size": "2", "device": "cpu"}, 5, FOUR, ["", ""]),
        ("transformers", {"data_parallel_size": "2"}, 5, ["GPU-8f2a", "GPU-11b0"], ["GPU-8f2a", "GPU-11b0"]),
        ("transformers", {}, 1000, [], [""]),
    ],
)
def test_places_of_the_replicas(engine, arguments, replies, seen, places):
    assert gpus.places_of(engine, arguments, replies, seen, cores=2) == [Place(place) for place in places]


@pytest.mark.parametrize(
    ("engine", "arguments", "replies", "seen", "places"),
    [
        ("vllm", {}, 1000, FOUR[:2], ["4", "5", "0 of n2", "1 of n2"]),
        ("vllm", {}, 200, FOUR[:2], ["4", "5", "0 of n2"]),
        ("vllm", {"data_parallel_size": "2"}, 1000, FOUR[:2], ["4", "5"]),
        ("vllm", {"tensor_parallel_size": "2"}, 1000, FOUR[:2], ["4,5", "0,1 of n2"]),
        # No replica has GPUs of two machines.
        ("vllm", {"tensor_parallel_size": "2"}, 1000, FOUR[:1], ["0,1 of n2"]),
        ("transformers", {"data_parallel_size": "3"}, 5, [], ["", "", " of n2"]),
        ("transformers", {}, 1000, [], [""]),
        ("vllm", {}, 1000, [], []),
    ],
)
def test_places_on_other_machines_come_behind_those_of_this_one(engine, arguments, replies, seen, places):
    wanted = [Place(*place.partition(" of ")[::2]) for place in places]
    assert gpus.places_of(engine, arguments, replies, seen, cores=2, others={"n2": 2}) == wanted


@pytest.mark.parametrize(
    ("engine", "arguments", "seen", "message"),
    [
        ("vllm", {"data_parallel_size": "5"}, FOUR, "takes a GPU, and 4 are seen here: give at most 4"),
        (
            "vllm",
            {"data_parallel_size": "3", "tensor_parallel_size": "2"},
            FOUR,
            "takes 2 GPUs, and 4 are seen here: give at most 2",
        ),
        ("vllm", {"data_parallel_size": "2"}, [], "none is seen here: leave it out, or --engine transformers"),
        ("transformers", {"data_parallel_size": "3"}, [], "takes a core, and there are 2: give at most 2"),
        ("transformers", {"data_parallel_size": "two"}, FOUR, "data_parallel_size=two: give a whole number"),
        ("vllm", {"tensor_parallel_size": "0"}, FOUR, "tensor_parallel_size=0: give a whole number"),
    ],
)
def test_more_replicas_than_there_is_room_for_are_refused(engine, arguments, seen, message):
    with pytest.raises(UserError, match=message):
        gpus.places_of(engine, arguments, 1000, seen, cores=2)


def test_the_room_of_other_machines_counts_before_replicas_are_refused():
    with pytest.raises(UserError, match="takes a GPU, and 6 are seen here: give at most 6"):
        gpus.places_of("vllm", {"data_parallel_size": "7"}, 1000, FOUR, cores=2, others={"n2": 2})


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place("4"), " on GPU 4"),
        (Place("0,1", "n2"), " on GPU 0,1 of n2"),
        (Place("", "n2"), " on n2"),
        (Place(""), ""),
    ],
)
def test_a_place_in_words(place, words):
    assert str(place) == words


@pytest.mark.parametrize(
    ("places", "variable", "shown"),
    [("1", None, "1"), ("1", "3,5", "5"), ("0,1", "3,5", "3,5"), ("0", "GPU-8f2a", "GPU-8f2a")],
)
def test_gpus_at_places_among_those_that_a_machine_shows(places, variable, shown):
    assert gpus.at_places(places, variable) == shown


@pytest.mark.parametrize(("variable", "number"), [("3", 1), ("", 0)])
def test_a_machine_that_shows_fewer_gpus_says_so(variable, number):
    with pytest.raises(SystemExit, match=rf"fewer GPUs are shown here \({number}\)"):
        gpus.at_places("1", variable)


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        ({"data_parallel_size": 4, "device": "NVIDIA H200", "machines": 2}, " on 4 GPUs of 2 machines"),
        ({"data_parallel_size": 4, "device": "NVIDIA H200"}, " on 4 GPUs"),
        ({"data_parallel_size": 3, "device": "cpu", "machines": 2}, " in 3 processes of 2 machines"),
        ({"device": "cpu"}, ""),
    ],
)
def test_where_replicas_run_in_words(provenance, words):
    assert gpus.in_words(provenance) == words


JOB = {"SLURM_JOB_NODELIST": "n[1-3]", "SLURMD_NODENAME": "n1"}
ALL = {"n2": 4, "n3": 4}


@pytest.fixture
def in_slurm(monkeypatch, tmp_path):
    """A function that sets the environment of a Slurm job, with stand-ins for Slurm's programs."""
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    hosts = '#!/bin/sh\n[ "$*" = "show hostnames n[1-3]" ] && printf "n1\\nn2\\nn3\\n"\n'
    for program, text in (("scontrol", hosts), ("srun", "#!/bin/sh\n")):
        (tmp_path / program).write_text(text)
        (tmp_path / program).chmod(0o755)

    def set_environment(variables):
        for name, value in ({"PATH": f"{tmp_path}:/usr/bin:/bin"} | variables).items():
            monkeypatch.setenv(name, value)

    return set_environment


@pytest.mark.parametrize(
    ("environment", "lent", "others"),
    [
        (JOB, 0, ALL),
        (JOB | {"SLURM_GPUS_ON_NODE": "4"}, 0, ALL),
        (JOB | {"SLURM_GPUS_ON_NODE": ""}, 0, ALL),
        (JOB | {"SLURM_GPUS_ON_NODE": "4(x2)"}, 0, ALL),
        # CUDA_VISIBLE_DEVICES shows fewer here than Slurm gave: by the user, or by the run for its training.
        (JOB | {"SLURM_GPUS_ON_NODE": "5"}, 0, {}),
        (JOB | {"SLURM_GPUS_ON_NODE": "5"}, 1, {"n2": 5, "n3": 5}),
        (JOB, 1, {"n2": 5, "n3": 5}),
        (JOB | {"SLURM_STEP_ID": "0"}, 0, {}),
        (JOB | {"SLURM_JOB_NODELIST": "n1"}, 0, {}),
        # As in a container.
        (JOB | {"PATH": "/nowhere"}, 0, {}),
        # `salloc` gives a shell where no machine of the job is.
        ({"SLURM_JOB_NODELIST": "n[1-3]"}, 0, {}),
        ({}, 0, {}),
    ],
)
def test_machines_of_a_job(environment, lent, others, in_slurm):
    in_slurm(environment)
    assert slurm.other_machines(4, lent) == others


def test_a_job_whose_machines_slurm_does_not_tell(in_slurm):
    in_slurm(JOB | {"SLURM_JOB_NODELIST": "n[7-9]"})
    with pytest.raises(UserError, match="ends with 1: ask the cluster's people, or unset SLURM_JOB_NODELIST"):
        slurm.other_machines(4)


@pytest.mark.parametrize(
    ("engine", "arguments", "shared_out", "machines"),
    [
        ("vllm", {}, False, {"", "n2", "n3"}),
        ("vllm", {"data_parallel_size": "1"}, False, {""}),
        # A rollout server may be on them.
        ("vllm", {}, True, {""}),
        ("vllm", {"data_parallel_size": "12"}, True, {"", "n2", "n3"}),
        ("transformers", {}, False, {""}),
    ],
)
def test_other_machines_are_taken_where_they_are_free(engine, arguments, shared_out, machines, in_slurm, monkeypatch):
    in_slurm(JOB)
    monkeypatch.setattr(gpus, "of_this_machine", lambda: (FOUR, 2))
    assert {place.machine for place in gpus.places(engine, arguments, 2000, shared_out)} == machines


@pytest.mark.parametrize(("told", "options"), [("8", ["--gpus-per-node=8"]), ("", [])])
def test_a_step_sees_all_gpus_of_its_machine(told, options, in_slurm):
    in_slurm({"SLURM_GPUS_ON_NODE": told})
    assert slurm.on("n2", ["true"]) == [*slurm.STEP, "--nodelist=n2", *options, "true"]


def test_what_the_job_was_asked_for_is_not_asked_for_each_step():
    ours = {"SLURM_GPUS": "16", "SLURM_GPUS_PER_TASK": "1", "SLURM_JOB_ID": "7", "SLURM_GPUS_PER_NODE": "8"}
    assert slurm.environment_of_step(ours) == {"SLURM_JOB_ID": "7", "SLURM_GPUS_PER_NODE": "8"}


def asked(problems: int, samples: int = 1, sides: tuple[bool, ...] = (False,)) -> list[Request]:
    """Prompts of growing length, in an order of their own."""
    order = sorted(range(problems), key=lambda number: number * 7 % problems)
    return [
        Request(Problem(f"p{number}", "?", None), index, "x" * (10 + number), "", "", 0, 0, adapted)
        for adapted in sides
        for number in order
        for index in range(samples)
    ]


@pytest.mark.parametrize(
    ("requests", "number", "sizes"),
    [
        (asked(7), 1, [7]),
        (asked(7), 2, [4, 3]),
        (asked(1319), 8, [165] * 7 + [164]),
        (asked(30, samples=4), 4, [32, 32, 28, 28]),
        (asked(5, samples=2, sides=(False, True)), 2, [12, 8]),
        (asked(2), 3, [1, 1, 0]),
    ],
)
def test_each_replica_gets_its_share(requests, number, sizes):
    shares = shares_of(requests, number)
    assert [len(share) for share in shares] == sizes
    assert Counter(request.key for share in shares for request in share) == Counter(each.key for each in requests)
    # All of a problem is together, in the order of the requests, and long and short prompts are in every share.
    owners = [{request.problem.id for request in share} for share in shares]
    assert sum(map(len, owners)) == len({request.problem.id for request in requests})
    place = {request.key: place for place, request in enumerate(requests)}
    assert all(share == sorted(share, key=lambda each: place[each.key]) for share in shares)
    means = [sum(len(each.prompt) for each in share) / len(share) for share in shares if share]
    assert max(means) - min(means) <= number


def test_shares_follow_from_the_problems_and_not_from_their_order():
    one, other = shares_of(asked(9), 2), shares_of(asked(9)[::-1], 2)
    assert [{each.key for each in share} for share in one] == [{each.key for each in share} for share in other]
