"""Chips and slices: names, what is refused, and how fast a mesh axis moves bytes."""

import pytest

from keras_codegemma.planning import CHIPS, Topology


def test_names_of_slices_and_counts():
    assert Topology.of("v5e:16x16").chips == 256
    assert Topology.of("V6E:2x4").sides == (2, 4)
    assert Topology.of("h100:16").sides == (16,)
    assert [one.name for one in Topology.of("v5e:8x8").larger()] == ["v5e:8x16", "v5e:16x16"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v4:2x2", "whose chip is none of v5e, v6e, h100"),
        ("v5e:3x3", "one of 1x1, 2x2, 2x4, .*; got '3x3'"),
        ("v5e", "got ''"),
        ("h100:12", "1 to 8, or whole nodes of 8; got 'h100:12'"),
        ("h100:0", "1 to 8"),
    ],
)
def test_unknown_topologies_are_refused_with_those_there_are(name, message):
    with pytest.raises(ValueError, match=message):
        Topology.of(name)


def test_an_axis_has_the_links_of_the_sides_it_spans():
    link = CHIPS["v5e"].link_bandwidth
    pod, small = Topology.of("v5e:16x16"), Topology.of("v5e:4x4")
    assert pod.bandwidth(256) == 4 * link  # two rings
    assert pod.bandwidth(16) == 2 * link
    assert pod.bandwidth(64, inner=4) == 3 * link  # a ring, and part of the other side
    assert small.bandwidth(16) == 2 * link  # two lines
    assert small.bandwidth(4, inner=4) == link
    assert (pod.hops(256), small.hops(16), small.hops(4)) == (16, 6, 3)
    assert small.sums_whole(16)
    assert not Topology.of("v5e:2x4").sums_whole(8)


def test_gpus_leave_their_node_through_as_many_adapters_as_take_part():
    chip, pod = CHIPS["h100"], Topology.of("h100:32")
    assert pod.bandwidth(8) == chip.link_bandwidth
    assert pod.bandwidth(32) == 8 * chip.node_bandwidth
    assert pod.bandwidth(4, inner=8) == chip.node_bandwidth
