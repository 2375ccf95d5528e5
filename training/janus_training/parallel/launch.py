"""Joining the other processes that torchrun, mpirun or srun started."""

from __future__ import annotations

import gc
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from janus_md.calculators.source import choose_device
from janus_md.errors import UserError
from janus_training.launcher import launcher

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for another before it gives up."""

FAREWELL = 2.0
"""Seconds for which the rank that keeps the meeting place waits for others to leave with the same mistake."""

PORTS = 20_000, 12_000
"""First port and number of ports that jobs of Slurm choose from: below those that systems give away."""


@dataclass(frozen=True)
class Place:
    """Rank, number of ranks, rank on this node, where they meet, and whether this rank keeps that place."""

    rank: int
    size: int
    local: int
    store: dist.Store
    keeps: bool


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the other processes; the device of this rank inside the context.

    A process that was started by itself stays alone. NCCL connects GPUs, gloo CPUs.

    Raises:
        UserError: also one that says that another rank is gone. Of equal ones on several ranks, all but the first
            are marked as ``repeated``.
    """
    place = _meet()
    if place is None:
        where = choose_device(device)
        # Kernels of our own are launched on the present GPU, which is the first unless told otherwise.
        with torch.cuda.device(where) if where.type == "cuda" else nullcontext():
            yield where
        return
    try:
        where = choose_device(device)
        if where.type == "cuda":
            where = torch.device("cuda", place.local % torch.cuda.device_count())
            torch.cuda.set_device(where)
            _refuse_to_share(where, place)
        backend = "nccl" if where.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=place.store, rank=place.rank, world_size=place.size, timeout=PATIENCE
        )
        yield where
    except UserError as error:
        error.repeated = _repeated(error, place)
        raise
    except RuntimeError as fault:
        if not _means_loss(fault):
            raise
        lost = UserError("another rank has ended; what it says, or its system, tells why")
        lost.repeated = _repeated(lost, place)
        raise lost from None
    finally:
        gc.collect()  # groups that are still referred to abort the process when it exits
        if dist.is_initialized():
            dist.destroy_process_group()


def settle_who_speaks(error: UserError) -> None:
    """Mark ``error``, of a process that has not joined the others, as ``repeated`` where another has met it before."""
    place = _meet()
    if place is not None:
        error.repeated = _repeated(error, place)


def _refuse_to_share(gpu: torch.device, place: Place) -> None:
    """Once all ranks have said which GPU they take: NCCL connects no two ranks on one.

    Their numbers on the node do not tell: a launcher may show each rank a GPU of its own as the only one.
    """
    node = f"ranks of {socket.gethostname()}"
    taken = f"ranks on {torch.cuda.get_device_properties(gpu).uuid}"
    for key in (node, taken):
        place.store.add(key, 1)
    if place.store.add("have chosen", 1) == place.size:
        place.store.set("all have chosen", "")
    place.store.wait(["all have chosen"])
    if place.store.add(taken, 0) > 1:
        raise UserError(
            f"the {place.store.add(node, 0)} ranks of a node find {torch.cuda.device_count()} GPUs there, fewer than "
            "one each; start as many ranks as there are GPUs, or set train.device=cpu"
        )


def _repeated(error: UserError, place: Place) -> bool:
    """Whether another rank came first with the same sentence."""
    place.store.set_timeout(timedelta(seconds=FAREWELL))
    try:
        repeated = place.store.add(f"said {error}", 1) > 1
        gone = place.store.add("gone", 1)
    except RuntimeError:
        return False  # nobody is left to have said it
    if place.keeps:
        deadline = time.monotonic() + FAREWELL
        while gone < place.size and time.monotonic() < deadline:
            time.sleep(0.02)
            gone = place.store.add("gone", 0)
    return repeated


def _means_loss(fault: RuntimeError) -> bool:
    """Whether an exchange failed because a process is gone or does not answer. gloo and NCCL say so in words only."""
    words = (
        "Connection closed by",
        "Connection reset by peer",
        "Broken pipe",
        "Timed out waiting",
        "gloo/transport/tcp/pair",
        "remote process exited",
    )
    of_store = isinstance(fault, dist.DistNetworkError | dist.DistStoreError)
    return of_store or any(word in str(fault) for word in words)


def _meet() -> Place | None:
    """The place of this process among those started with it; None where it is alone."""
    start = launcher()
    if start is None:
        return None
    return {"torchrun": _of_torchrun, "mpirun": _of_mpirun, "srun": _of_srun}[start.by](start.size)


def _of_torchrun(size: int) -> Place:
    rank = int(os.environ["RANK"])
    # torchrun keeps the store of a group between restarts; the restart's number keeps their keys apart.
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    keeps = rank == 0 and not agent
    store = _store(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), keeps)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    prefixed = dist.PrefixStore(f"attempt {attempt}", store)
    return Place(rank, size, int(os.environ.get("LOCAL_RANK", "0")), prefixed, keeps)


def _of_srun(size: int) -> Place:
    rank, job = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_JOB_ID"])
    host = os.environ.get("MASTER_ADDR") or (
        first_host(os.environ.get("SLURM_STEP_NODELIST", ""))
        or os.environ["SLURM_LAUNCH_NODE_IPADDR"]
    )
    # A port that the ranks all know and that another job, or step of this one, on the node hardly has.
    step = int(os.environ.get("SLURM_STEP_ID", "0"))
    chosen = PORTS[0] + (job + 1009 * step) % PORTS[1]
    port = int(os.environ.get("MASTER_PORT") or chosen)
    local = int(os.environ.get("SLURM_LOCALID", "0"))
    return Place(rank, size, local, _store(host, port, rank == 0), rank == 0)


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: ``n[007-009,12],login`` → ``n007``."""
    found = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\]([^,\[]*))?", nodes)
    return "" if found is None else "".join(part or "" for part in found.groups())


def _of_mpirun(size: int) -> Place:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        raise UserError(
            "mpirun started this process but mpi4py cannot be used; install it for the MPI that mpirun is of, "
            "or start the ranks with torchrun"
        ) from None
    ranks = MPI.COMM_WORLD
    rank = ranks.Get_rank()
    if ranks.Get_size() != size:
        library = MPI.Get_library_version().splitlines()[0].strip()
        raise UserError(
            f"mpirun started {size} ranks but mpi4py sees {ranks.Get_size()}, because it is made for another MPI"
            f" ({library}); install it for the MPI that mpirun is of, or start the ranks with torchrun"
        )
    node = ranks.Split_type(MPI.COMM_TYPE_SHARED)
    # The name of a single node need not be known to itself.
    name = "127.0.0.1" if node.Get_size() == size else socket.gethostname()
    first = (
        dist.TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    )
    host, port = ranks.bcast(first and (name, first.port))
    return Place(rank, size, node.Get_rank(), first or _store(host, port, False), rank == 0)


def _store(host: str, port: int, keeps: bool) -> dist.TCPStore:
    try:
        socket.getaddrinfo(host, port)
    except OSError:
        raise UserError(
            f"the host {host}, where the ranks meet, has no address here; set MASTER_ADDR to one that all nodes know"
        ) from None
    try:
        return dist.TCPStore(host, port, is_master=keeps, wait_for_workers=False, timeout=PATIENCE)
    except RuntimeError:
        wrong = "is taken" if keeps else "does not answer"
        raise UserError(
            f"port {port} of {host}, where the ranks meet, {wrong}; set MASTER_PORT to a free one"
        ) from None
