"""What is read off a program's text."""

from keras_codegemma.dry_run.compiled import Collective, collectives

TEXT = """
%all-reduce.1 = bf16[8,1,2048]{2,0,1:T(8,128)(2,1)S(1)} all-reduce(%x), channel_id=2, replica_groups=mesh
%all-reduce.2 = (f32[16]{0}, pred[8]{0}) all-reduce(%x, %y), channel_id=3
%all-gather-start = (bf16[4,8]{1,0}, bf16[16,8]{1,0}) all-gather-start(%w), channel_id=4, dimensions={0}
%all-gather.5 = bf16[16,8]{1,0} all-gather(%w), channel_id=4, dimensions={0}
%reduce_scatter.1 = bf16[4,8]{1,0} reduce-scatter(%g), channel_id=1, dimensions={0}
%reduce_scatter.2 = bf16[4,8]{1,0} reduce-scatter(%h), channel_id=1, dimensions={0}
%reduce = f32[8]{0} reduce(%all-reduce.1), dimensions={0}
"""


def test_each_channel_or_scattered_sum_counts_once_with_the_bytes_of_its_result():
    assert collectives(TEXT) == [
        Collective(kind="all-reduce", result_bytes=8 * 2048 * 2),
        Collective(kind="all-reduce", result_bytes=16 * 4 + 8),
        Collective(kind="all-gather", result_bytes=256),
        *[Collective(kind="reduce-scatter", result_bytes=64)] * 2,
    ]
