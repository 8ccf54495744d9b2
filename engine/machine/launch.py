"""Which of several processes this one is, told by what MLX's launcher left in the environment.

`mlx.launch` (ring, JACCL, NCCL) and `mpirun` start one program several times, a rank each. Nothing
here imports MLX.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

from engine.errors import UserError

HOSTFILE, RANK = "MLX_HOSTFILE", "MLX_RANK"


@dataclass(frozen=True, slots=True)
class Place:
    """The place of this process among `size` that train together. `backend` is the name that MLX
    has for what connects them, `address` one at which all reach rank 0, where it is known, and
    `port` that at which MLX has it listen there; `neighbours` counts the ranks on this machine,
    this one included."""

    rank: int
    size: int
    backend: str
    address: str | None = None
    neighbours: int = 1
    port: int | None = None


def place(environ: Mapping[str, str] | None = None) -> Place | None:
    """The place of this process; None where it trains alone.

    Raises:
        UserError: the environment names a place that makes no sense.
    """
    environ = os.environ if environ is None else environ
    own = _of_ring(environ) or _of_nccl(environ) or _of_jaccl(environ) or _of_mpi(environ)
    if own is None or own.size == 1:
        return None
    if not 0 <= own.rank < own.size:
        raise UserError(f"{RANK}: there is no rank {own.rank} among {own.size}, from 0 on")
    return own


def _of_ring(environ: Mapping[str, str]) -> Place | None:
    """As `mlx.launch --backend ring` has it: a file with the addresses of each rank."""
    if not (name := environ.get(HOSTFILE)) or RANK not in environ:
        return None
    machines = _machines(name)
    if not machines:
        return None
    rank = _number(environ, RANK)
    addresses = [address for address, _ in machines]
    if _by_cables(addresses):
        return Place(rank, len(machines), "ring")
    own = addresses[rank] if 0 <= rank < len(machines) else None
    address, port = machines[0]
    return Place(rank, len(machines), "ring", address, max(1, addresses.count(str(own))), port)


def _by_cables(addresses: Sequence[str]) -> bool:
    """Whether a ring of three or more has the addresses that `mlx.distributed_config` gives to its
    cables, a network of four for each: those of rank 0 are then reached by its neighbours alone."""
    if len(addresses) < 3:
        return False
    try:
        numbers = [int(IPv4Address(each)) for each in addresses if each.startswith("192.168.")]
    except ValueError:
        return False
    cables = {number >> 2 for number in numbers if number & 3 in (1, 2)}
    return len(cables) == len(addresses)


@cache
def _machines(hostfile: str) -> tuple[tuple[str, int], ...]:
    """The address and port of each rank, by rank."""
    try:
        text = Path(hostfile).read_text(encoding="utf-8").strip()
        hosts = json.loads(text) if text else []
        if not isinstance(hosts, list):
            raise TypeError("it holds no list")
        return tuple(_address(str(addresses[0])) for addresses in hosts)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{HOSTFILE}: {hostfile} is no list of each rank's addresses, such as "
            f'[["10.0.0.1:5000"], ["10.0.0.2:5000"]]: {error}'
        ) from error


def _address(text: str) -> tuple[str, int]:
    """
    Raises:
        ValueError: it is no address with a port.
    """
    address, _, port = text.rpartition(":")
    return address, int(port)


def _of_nccl(environ: Mapping[str, str]) -> Place | None:
    if "NCCL_HOST_IP" not in environ or "MLX_WORLD_SIZE" not in environ or RANK not in environ:
        return None
    size = _number(environ, "MLX_WORLD_SIZE")
    port = _number(environ, "NCCL_PORT") if "NCCL_PORT" in environ else None
    return Place(_number(environ, RANK), size, "nccl", environ["NCCL_HOST_IP"], port=port)


def _of_jaccl(environ: Mapping[str, str]) -> Place | None:
    devices, coordinator = environ.get("MLX_IBV_DEVICES"), environ.get("MLX_JACCL_COORDINATOR")
    if not devices or not coordinator or RANK not in environ:
        return None
    try:
        size = len(json.loads(Path(devices).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"MLX_IBV_DEVICES: {devices} cannot be read: {error}") from error
    try:
        address, port = _address(coordinator)
    except ValueError as error:
        raise UserError(
            f"MLX_JACCL_COORDINATOR: {coordinator!r} is no address with a port, such as "
            "10.0.0.1:32323"
        ) from error
    return Place(_number(environ, RANK), size, "jaccl", address, port=port)


def _of_mpi(environ: Mapping[str, str]) -> Place | None:
    for rank, size in (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE")):
        if rank in environ and size in environ:
            local = "OMPI_COMM_WORLD_LOCAL_SIZE"
            neighbours = _number(environ, local) if local in environ else 1
            return Place(_number(environ, rank), _number(environ, size), "mpi", None, neighbours)
    return None


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except ValueError as error:
        raise UserError(f"{name}: {environ[name]!r} is no number") from error
