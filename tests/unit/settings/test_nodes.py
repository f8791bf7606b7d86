"""Several machines as one engine: what RunPod's variables become, and what cannot be."""

import dataclasses
import socket

import pytest

from settings import config, interfaces, nodes
from tests.unit.settings.test_config import PARSER, lines, load, problems

# As RunPod sets them (docs.runpod.io/instant-clusters/configuration).
CLUSTER = {"NUM_NODES": "2", "NODE_RANK": "1", "NODE_ADDR": "10.65.0.3", "PRIMARY_ADDR": "10.65.0.2",
           "MASTER_ADDR": "10.65.0.2", "PRIMARY_PORT": "29500", "MASTER_PORT": "29500", "NUM_TRAINERS": "8",
           "WORLD_SIZE": "16", "HOST_NODE_ADDR": "10.65.0.2:29500", "RUNPOD_POD_ID": "pod", "WORKER_API_KEY": "key"}


def flags_of(settings, *names):
    values = PARSER.parse_args(settings.server_args).__dict__
    return [values[name] for name in names]


def test_a_worker_that_is_alone():
    for environ in ({}, {"NUM_NODES": "1", "PRIMARY_ADDR": "10.65.0.2"}, {"NUM_NODES": " "}):
        settings = load(environ)
        assert settings.nodes == nodes.NodeSettings() and "--nnodes" not in settings.server_args
        assert "NCCL_SOCKET_IFNAME" not in config.engine_environ(settings, environ)


@pytest.mark.parametrize("rank", [0, 1])
def test_an_instant_cluster_needs_nothing_else(rank):
    settings = load({**CLUSTER, "NODE_RANK": str(rank), "NODE_ADDR": f"10.65.0.{2 + rank}"}, 8)
    assert settings.http.mode == "http" and settings.http.reason == "this is one of several machines (NUM_NODES)"
    assert settings.nodes == nodes.NodeSettings(2, rank, "10.65.0.2", 29500, f"10.65.0.{2 + rank}", 8)
    assert flags_of(settings, "--nnodes", "--node-rank", "--dist-init-addr", "--tp-size") == [
        2, rank, "10.65.0.2:29500", 16]
    assert "tensor parallel size 16: 16 visible GPUs on 2 nodes" in lines(settings, "info")
    assert any(line.startswith(f"node {rank} of 2, which are one engine") for line in lines(settings, "info"))


def test_addresses_may_have_their_network_behind_them_and_the_older_names_do():
    environ = {**CLUSTER, "NODE_ADDR": "10.65.0.3/24", "PRIMARY_ADDR": "", "MASTER_ADDR": "10.65.0.2/24",
               "PRIMARY_PORT": "", "MASTER_PORT": "29600"}
    settings = load(environ, 8)
    assert (settings.nodes.host, settings.nodes.port, settings.nodes.own) == ("10.65.0.2", 29600, "10.65.0.3")
    assert flags_of(load({**environ, "MASTER_ADDR": "fd00::2"}, 8), "--dist-init-addr") == ["[fd00::2]:29600"]


def test_node_0_needs_no_address_of_its_own():
    assert load({**CLUSTER, "NODE_RANK": "0", "NODE_ADDR": ""}, 1).nodes.own == "10.65.0.2"


@pytest.mark.parametrize(("environ", "gpus", "sizes"), [
    ({"PIPELINE_PARALLEL_SIZE": "2"}, 8, (8, 2)),
    ({"PIPELINE_PARALLEL_SIZE": "4"}, 8, (4, 4)),
    ({"NUM_NODES": "4", "PIPELINE_PARALLEL_SIZE": "2"}, 8, (16, 2)),
    ({"TENSOR_PARALLEL_SIZE": "8", "PIPELINE_PARALLEL_SIZE": "2"}, 8, (8, 2)),
    ({"TENSOR_PARALLEL_SIZE": "4"}, 8, (4, 1)),
    ({"ATTN_DP_SIZE": "16"}, 8, (16, 1)),
    ({}, None, (16, 1)),                   # NUM_TRAINERS says how many
    ({"NUM_TRAINERS": ""}, None, (2, 1)),  # nothing does
    ({"DEVICE": "cpu"}, 8, (2, 1)),
    ({"DEVICE": "cpu", "PIPELINE_PARALLEL_SIZE": "2"}, None, (1, 2)),
])
def test_the_layout_is_over_all_nodes_and_an_explicit_one_wins(environ, gpus, sizes):
    values = flags_of(load({**CLUSTER, **environ}, gpus), "--tp-size", "--pp-size")
    assert [value or 1 for value in values] == list(sizes)


def test_more_gpus_than_all_nodes_have():
    settings = load({**CLUSTER, "TENSOR_PARALLEL_SIZE": "32"}, 8)
    assert "32 GPUs are needed and 16 visible on 2 nodes (tensor x data x pipeline parallel size)" in lines(
        settings, "warn")


@pytest.mark.parametrize(("environ", "problem"), [
    ({"WORKER_MODE": "queue"}, "NUM_NODES=2: several machines are one engine over HTTP alone, because a worker of "
     "RunPod's queue is one machine: set WORKER_MODE=http on all nodes, or unset NUM_NODES"),
    ({"RUNPOD_WEBHOOK_GET_JOB": "http://x"}, "NUM_NODES=2: several machines are one engine over HTTP alone, because a "
     "worker of RunPod's queue is one machine: set WORKER_MODE=http on all nodes, or unset NUM_NODES"),
    ({"NODE_RANK": "2"}, "NODE_RANK=2: must be a whole number from 0 to 1 where NUM_NODES is 2"),
    ({"NODE_RANK": ""}, "NODE_RANK: must be a whole number from 0 to 1 where NUM_NODES is 2"),
    ({"PRIMARY_PORT": "1"}, "PRIMARY_PORT=1: must be a whole number from 2 to 65535 where NUM_NODES is 2"),
    ({"PRIMARY_ADDR": "", "MASTER_ADDR": ""}, "PRIMARY_ADDR: must be node 0's address where NUM_NODES is 2"),
    ({"NNODES": "4"}, "NNODES=4: NUM_NODES is 2: set one of them"),
    ({"SGLANG_EXTRA_ARGS": "--node-rank 0"}, "NODE_RANK=0: NODE_RANK is 1: set one of them"),
    ({"DATA_PARALLEL_SIZE": "2"}, "DATA_PARALLEL_SIZE=2: copies of the model on several machines are not one engine in "
     "SGLang: run a worker on each, or set ATTN_DP_SIZE"),
    ({"LORA_SOURCES": "/adapters"}, "LORA_SOURCES: an adapter would be downloaded to node 0 alone: name the adapters "
     "in LORA_PATHS on all nodes"),
    ({"NUM_NODES": "3", "PIPELINE_PARALLEL_SIZE": "2"}, "PIPELINE_PARALLEL_SIZE=2: must divide the number of nodes, 3, "
     "or be a multiple of it"),
    ({"NUM_NODES": "4", "PIPELINE_PARALLEL_SIZE": "2", "TENSOR_PARALLEL_SIZE": "3"}, "TENSOR_PARALLEL_SIZE=3: must be "
     "a multiple of 2, the nodes that share it (4 nodes, pipeline parallel size 2)"),
])
def test_what_cannot_be_is_named_with_the_remedy(environ, problem):
    assert problem in problems({**CLUSTER, **environ}, 8)


def test_what_is_no_number_of_nodes():
    assert problems({"NUM_NODES": "two"}) == ["NUM_NODES=two: must be a whole number"]


@pytest.mark.parametrize("name", ["NNODES", "DIST_INIT_ADDR"])
def test_flags_that_say_the_same_or_more_are_let_through_here_alone(name):
    given = {"NNODES": "2", "DIST_INIT_ADDR": "10.65.0.2:25000"}[name]
    settings = load({**CLUSTER, name: given}, 8)
    assert settings.server_args.count(f"--{name.lower().replace('_', '-')}") == 1
    assert any("open it with ALLOWED_LISTENERS" in line for line in problems({name: given}))


def test_dp_attention_over_the_nodes_is_allowed():
    settings = load({**CLUSTER, "DP_SIZE": "16", "ENABLE_DP_ATTENTION": "true"}, 8)
    assert flags_of(settings, "--tp-size", "--nnodes") == [16, 2]


def test_the_engine_is_told_the_way_to_the_other_nodes_unless_it_was():
    settings = load(CLUSTER, 8)
    settings = dataclasses.replace(settings, nodes=dataclasses.replace(settings.nodes, interface="ens1"))
    told = config.engine_environ(settings, CLUSTER)
    assert (told["NCCL_SOCKET_IFNAME"], told["GLOO_SOCKET_IFNAME"]) == ("ens1", "ens1")
    assert told["SGLANG_HOST_IP"] == "10.65.0.3"
    told = config.engine_environ(settings, {**CLUSTER, "NCCL_SOCKET_IFNAME": "eth7"})
    assert (told["NCCL_SOCKET_IFNAME"], told["GLOO_SOCKET_IFNAME"]) == ("eth7", "ens1")
    assert "NCCL_SOCKET_IFNAME" not in config.engine_environ(load(CLUSTER, 8), CLUSTER)


def test_the_interface_is_the_one_that_has_the_address_else_the_one_of_instant_clusters(monkeypatch):
    loopback = next(name for name in (name for _, name in socket.if_nameindex())
                    if interfaces._address(name) == "127.0.0.1")
    assert interfaces.between("127.0.0.1") == loopback
    assert interfaces.between("192.0.2.1") == "" or "ens1" in [name for _, name in socket.if_nameindex()]
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0"), (3, "ens1")])
    monkeypatch.setattr(interfaces, "_address", lambda name: {"lo": "127.0.0.1", "eth0": "172.16.0.2"}.get(name, ""))
    assert interfaces.between("10.65.0.3") == "ens1" and interfaces.between("") == "ens1"
    assert interfaces.between("172.16.0.2") == "eth0"
