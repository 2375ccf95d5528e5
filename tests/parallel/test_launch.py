"""`janus-md train` under torchrun, mpirun and srun; ranks that are killed."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.distributed as dist
from parallel_support.launchers import (
    TIME_LIMIT,
    TRAIN,
    assert_same_metrics,
    done,
    srun_started,
    started,
    with_mpirun,
    with_srun,
    with_torchrun,
    write_recipe,
)
from parallel_support.mortal import assert_same_run, killed_now_and_then, wait_for_rows

from janus_md.errors import UserError
from janus_training.launcher import Start, launcher, names_of_launch
from janus_training.loop import train
from janus_training.metrics import read_metrics
from janus_training.parallel import launch
from janus_training.parallel.launch import first_host
from janus_training.recipe import load_config


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    return train(load_config(recipe), tmp_path_factory.mktemp("alone") / "run")


@pytest.fixture(scope="module")
def torchrun(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two ranks that torchrun started and nobody disturbed."""
    run = tmp_path_factory.mktemp("torchrun") / "run"
    command = [*with_torchrun(2), *TRAIN, str(recipe), "-o", str(run)]
    ended = done([*command, "--set", "train.checkpoint_minutes=0"])
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("2 ranks: 2 x units of 1") == 1
    assert ended.stderr.count("writing report.html") == 1
    return run


def test_torchrun(torchrun: Path, alone: Path) -> None:
    assert_same_metrics(torchrun, alone)
    assert (torchrun / "report.html").exists()


def test_mpirun(recipe: Path, alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["--set", "parallel.unit=2"]
    ended = done([*with_mpirun(2), *TRAIN, str(recipe), "-o", str(run), *settings])
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("2 ranks: 1 x units of 2") == 1
    assert_same_metrics(run, alone)


def test_srun(recipe: Path, alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ranks = with_srun(2, [*TRAIN, str(recipe), "-o", str(run)])
    assert [code for code, _ in ranks] == [0, 0], ranks
    assert "2 ranks" in ranks[0][1] and not ranks[1][1]
    assert_same_metrics(run, alone)


def test_a_wrong_number_of_ranks_is_said_once(recipe: Path, tmp_path: Path) -> None:
    """Each rank ends by itself, with the code of a user's mistake."""
    arguments = [*TRAIN, str(recipe), "-o", str(tmp_path / "run"), "--set", "parallel.unit=2"]
    ranks = with_srun(3, arguments)
    assert [code for code, _ in ranks] == [2, 2, 2]
    words = "".join(said for _, said in ranks)
    assert words == (
        "janus-md: 3 ranks cannot be divided into units of 2; set parallel.unit to a divisor of 3\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_unit_needs_its_ranks(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unit is 4 but there is one process"):
        train(load_config(recipe, ["parallel.unit=4"]), tmp_path / "run")


def test_so_many_units_need_their_ranks(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="replicate is 8 but there is one process"):
        train(load_config(recipe, ["parallel.replicate=8"]), tmp_path / "run")


def test_two_kills_leave_no_trace(recipe: Path, torchrun: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["train.checkpoint_minutes=0"]
    assert killed_now_and_then(recipe, run, settings, kills=2, seed=1) == 2
    assert_same_run(run, torchrun)


def test_a_job_put_back_into_slurms_queue_resumes(
    recipe: Path, torchrun: Path, tmp_path: Path
) -> None:
    """Its node dies; the same command, which says nothing of resuming, goes on from the last checkpoint."""
    run = tmp_path / "run"
    arguments = [*TRAIN, str(recipe), "-o", str(run), "--set", "train.checkpoint_minutes=0"]
    ranks = srun_started(2, arguments)
    deadline = time.monotonic() + TIME_LIMIT
    while not (run / "checkpoints" / "last").exists():
        assert ranks[0].poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    for rank in ranks:
        rank.kill()
        rank.communicate(timeout=TIME_LIMIT)
    again = with_srun(2, arguments, restarts=1)
    assert [code for code, _ in again] == [0, 0], again
    assert "going on from the checkpoint of step" in again[0][1]
    assert_same_run(run, torchrun)


def leave_only(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment of these alone."""
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("by", ["torchrun", "slurm"])
def test_a_further_start_goes_on_with_what_its_launch_began_alone(
    recipe: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """And not with a run that was there before, which the first start has refused."""
    identity, count = {
        "torchrun": ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
        "slurm": ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
    }[by]
    run, config = tmp_path / "run", load_config(recipe, ["train.steps=2"])
    monkeypatch.setenv(identity, "71")
    train(config, run)
    rows = read_metrics(run)
    monkeypatch.setenv(count, "1")
    train(config, run)
    assert read_metrics(run) == rows
    with pytest.raises(UserError, match="already holds a run"):
        train(load_config(recipe), alone)
    with pytest.raises(UserError, match="was begun with another configuration"):
        train(load_config(recipe), run)
    monkeypatch.setenv(identity, "72")
    with pytest.raises(UserError, match="already holds a run"):
        train(config, run)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"TORCHELASTIC_RUN_ID": "a"}, {"torchrun": "a"}),
        ({"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_ERROR_FILE": "logs/none_x/attempt_2/0/error.json",
          "SLURM_JOB_ID": "7"}, {"torchrun": "logs/none_x", "slurm": "7"}),
        ({"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_ERROR_FILE": "/dev/null"}, {}),
    ],
)  # fmt: skip
def test_what_tells_launches_apart(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: dict[str, str]
) -> None:
    leave_only(variables, monkeypatch)
    assert names_of_launch() == expected


class Gpu:
    """What torch tells of a GPU, as far as ranks are told apart by it."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid


@pytest.mark.parametrize("gpus", [["a", "a"], ["a", "b"]], ids=["one for both", "one each"])
def test_ranks_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch, gpus: list[str]) -> None:
    """Both see one GPU: the same one, or, where the launcher has dealt them out, another one each."""
    store, known = dist.HashStore(), iter(gpus)
    places = [launch.Place(rank, 2, rank, store, keeps=False) for rank in (0, 1)]
    monkeypatch.setattr(launch, "_meet", places.pop)
    monkeypatch.setattr(launch, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Gpu(next(known)))
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)

    def join(_: int) -> torch.device | UserError:
        try:
            with launch.joined("cuda") as device:
                return device
        except UserError as error:
            return error

    with ThreadPoolExecutor(2) as ranks:
        found = list(ranks.map(join, range(2)))
    if gpus == ["a", "b"]:
        assert found == [torch.device("cuda", 0)] * 2
    else:
        assert all("the 2 ranks of a node find 1 GPUs" in str(error) for error in found)
        assert sorted(error.repeated for error in found) == [False, True]


LOST = [
    RuntimeError(
        "[gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 4000ms for recv"
    ),
    dist.DistNetworkError("Connection reset by peer"),
    dist.DistStoreError("wait timeout after 4000ms, keys: /0//cpu//0/1"),
    dist.DistBackendError(
        "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting"
        " prematurely. NCCL error: remote process exited or there was a network error"
    ),
]
OTHERS = [
    RuntimeError(
        "[gloo/transport/tcp/device.cc:84] ifa != nullptr. Unable to find address for: eth99"
    ),
    dist.DistBackendError("NCCL error: Duplicate GPU detected : rank 0 and rank 1 both on 1b000"),
]


@pytest.mark.parametrize("fault", [*LOST, *OTHERS], ids=lambda fault: str(fault)[:30])
def test_only_a_rank_that_is_gone_is_called_so(
    monkeypatch: pytest.MonkeyPatch, fault: RuntimeError
) -> None:
    """Other faults of an exchange keep their words."""
    place = launch.Place(0, 2, 0, dist.HashStore(), keeps=False)
    monkeypatch.setattr(launch, "_meet", lambda: place)
    monkeypatch.setattr(dist, "init_process_group", Mock(side_effect=fault))
    with pytest.raises(RuntimeError if fault in OTHERS else UserError) as end, launch.joined("cpu"):
        pass
    assert end.value is fault or "another rank has ended" in str(end.value)


def test_a_lone_process_computes_on_the_gpu_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are launched on the present GPU, wherever their tensors are."""
    present = [0]

    @contextmanager
    def on(device: torch.device) -> Iterator[None]:
        present.append(device.index)
        yield
        present.pop()

    monkeypatch.setattr(launch, "_meet", lambda: None)
    monkeypatch.setattr(launch, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device", on)
    with launch.joined("cuda:1") as device:
        assert device == torch.device("cuda", 1) and present[-1] == 1
    assert present == [0]


@pytest.mark.slow
def test_twenty_kills_leave_no_trace(recipe: Path, tmp_path: Path) -> None:
    settings = ["train.steps=160", "train.validate_every=7", "train.checkpoint_minutes=0"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    chosen = [part for setting in settings for part in ("--set", setting)]
    ended = done([*with_torchrun(2), *TRAIN, str(recipe), "-o", str(whole), *chosen])
    assert ended.returncode == 0, ended.stderr
    assert killed_now_and_then(recipe, run, settings, kills=20, seed=0) == 20
    assert_same_run(run, whole)


@pytest.mark.slow
def test_ctrl_c_saves_once_and_the_run_goes_on(recipe: Path, tmp_path: Path) -> None:
    """The terminal tells the ranks, and torchrun tells them again."""
    settings = ["--set", "train.steps=60"]
    run, whole = tmp_path / "run", tmp_path / "whole"
    command = [*with_torchrun(2), *TRAIN, "-o", str(run)]
    process = started([*command, str(recipe), *settings])
    wait_for_rows(run, 8, process, time.monotonic() + TIME_LIMIT)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=TIME_LIMIT)[1]
    assert process.returncode != 0
    assert said.count("was interrupted at step") == 1, said
    again = done([*command, "--resume"])
    assert again.returncode == 0, again.stderr
    ended = done([*with_torchrun(2), *TRAIN, "-o", str(whole), str(recipe), *settings])
    assert ended.returncode == 0, ended.stderr
    assert_same_run(run, whole)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, Start("torchrun", 1)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}, Start("mpirun", 3)),
        ({"MPI_LOCALRANKID": "0", "PMI_RANK": "0", "PMI_SIZE": "2"}, Start("mpirun", 2)),
        # A script that sbatch runs; a shell in an allocation of four; srun with a PMI of its own.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1",
          "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"}, None),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
          "PMI_RANK": "3", "PMI_SIZE": "4"}, Start("srun", 4)),
        # mpirun in a job of Slurm; torchrun on each of its nodes.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
          "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8"}, Start("mpirun", 8)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
          "RANK": "0", "WORLD_SIZE": "16", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, Start("torchrun", 16)),
    ],
)  # fmt: skip
def test_what_the_environment_tells(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: Start | None
) -> None:
    leave_only(variables, monkeypatch)
    assert launcher() == expected


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("", ""), ("alpha", "alpha"), ("alpha,beta", "alpha"), ("n[007-009,12]", "n007"),
        ("n[3,5],login", "n3"), ("rack1-n[01-02]-ib", "rack1-n01-ib"),
    ],
)  # fmt: skip
def test_the_first_of_slurms_nodes(nodes: str, host: str) -> None:
    assert first_host(nodes) == host
