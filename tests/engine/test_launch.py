"""Which rank a process is, by what launchers leave in the environment."""

import json
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.machine.launch import Place, place
from engine.notebook import train
from engine.settings.files import preset


def ring(folder: Path, hosts: object, rank: object) -> dict[str, str]:
    file = folder / f"{abs(hash(str(hosts)))}-hosts.json"
    file.write_text(hosts if isinstance(hosts, str) else json.dumps(hosts))
    return {"MLX_HOSTFILE": str(file), "MLX_RANK": str(rank)}


HOSTS = [["10.0.0.1:5000", "10.0.1.1:5000"], ["10.0.0.2:5000"], ["10.0.0.2:5001"]]


def test_a_ring_has_the_addresses_of_all(tmp_path: Path) -> None:
    assert place(ring(tmp_path, HOSTS, 0)) == Place(0, 3, "ring", "10.0.0.1", 1, 5000)
    assert place(ring(tmp_path, HOSTS, 2)) == Place(2, 3, "ring", "10.0.0.1", 2, 5000)


def test_in_a_ring_of_cables_rank_0_is_found_by_another_network(tmp_path: Path) -> None:
    cables = [
        ["192.168.0.5:5000", "192.168.0.13:5000"],
        ["192.168.0.2:5000"],
        ["192.168.0.10:5000"],
    ]
    assert place(ring(tmp_path, cables, 1)) == Place(1, 3, "ring")
    both = cables[:2]  # neighbours of each other
    assert place(ring(tmp_path, both, 1)) == Place(1, 2, "ring", "192.168.0.5", 1, 5000)
    network = [["192.168.1.5:5000"], ["192.168.1.6:5000"], ["192.168.1.7:5000"]]
    assert place(ring(tmp_path, network, 1)) == Place(1, 3, "ring", "192.168.1.5", 1, 5000)


def test_one_process_is_no_rank(tmp_path: Path) -> None:
    assert place({}) is None
    assert place({"MLX_RANK": "0"}) is None
    assert place(ring(tmp_path, "", 0)) is None  # as `mlx.launch -n 1` writes it
    assert place(ring(tmp_path, HOSTS[:1], 0)) is None


def test_other_launchers_tell_it_in_their_way(tmp_path: Path) -> None:
    nccl = {"NCCL_HOST_IP": "10.0.0.1", "MLX_WORLD_SIZE": "2", "MLX_RANK": "1"}
    assert place(nccl) == Place(1, 2, "nccl", "10.0.0.1")
    assert place({**nccl, "NCCL_PORT": "12345"}) == Place(1, 2, "nccl", "10.0.0.1", port=12345)
    devices = tmp_path / "devices.json"
    devices.write_text('[[null, "rdma_en2"], ["rdma_en2", null]]')
    jaccl = {"MLX_IBV_DEVICES": str(devices), "MLX_JACCL_COORDINATOR": "10.0.0.1:32323"}
    assert place({**jaccl, "MLX_RANK": "0"}) == Place(0, 2, "jaccl", "10.0.0.1", port=32323)
    with pytest.raises(UserError, match=r"MLX_JACCL_COORDINATOR: .* is no address with"):
        place({**jaccl, "MLX_RANK": "0", "MLX_JACCL_COORDINATOR": "10.0.0.1"})
    mpi = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"}
    local = {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    assert place({**mpi, **local}) == Place(1, 4, "mpi", None, 2)


@pytest.mark.parametrize("hosts", ["{", "[[]]", "[1]", '{"a": 1}'])
def test_a_damaged_hostfile_is_named(hosts: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"MLX_HOSTFILE: .*hosts\.json is no list of each rank's"):
        place(ring(tmp_path, hosts, 0))


@pytest.mark.parametrize(
    ("rank", "message"), [(3, "there is no rank 3 among 3"), ("x", "'x' is no number")]
)
def test_a_rank_that_cannot_be_is_named(rank: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        place(ring(tmp_path, HOSTS, rank))


def test_a_notebook_is_no_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ring(tmp_path, HOSTS, 0).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="by `lora-studio train CONFIG"):
        train(preset("starter"))
