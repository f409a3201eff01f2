"""The infilling problems whose tests an empty completion passes, as the benchmark's own checker would say, too.

Found by running all 1,033 + 5,815 + 1,640 + 164 (`test_tasks`, marked slow). They are right, not forged: the
middle is empty (14 random spans), is white space that the program does without, or is code whose absence none of the
problem's tests notices (a guard for an input that is never tried, a `break` that only saves time, a table's entry that
is never asked for). They are the same in both layouts. Random-span-light has none.
"""

_PASSING = {
    "single-line": {
        20: "L0 L8",
        33: "L0",
        46: "L6",
        66: "L0",
        68: "L0",
        81: "L16",
        92: "L4",
        95: "L8 L18",
        96: "L6",
        99: "L3",
        105: "L6 L7",
        109: "L3",
        111: "L7",
        118: "L5",
        124: "L1 L6 L10",
        127: "L3 L5 L6 L8",
        129: "L1 L9",
        150: "L5",
    },
    "multi-line": {
        10: "L0_L1",
        20: "L0_L0 L8_L8",
        33: "L0_L0",
        46: "L1_L2 L6_L6",
        59: "L1_L2",
        66: "L0_L0",
        68: "L0_L0",
        76: "L0_L1",
        81: "L6_L7 L14_L15 L14_L17 L15_L16 L16_L16 L16_L17",
        89: "L5_L6",
        92: "L4_L4",
        95: "L8_L8 L14_L15 L18_L18 L18_L20 L19_L20",
        96: "L6_L6",
        99: "L2_L5 L3_L3 L15_L16",
        101: "L0_L1",
        105: "L6_L6 L6_L7 L7_L7",
        109: "L3_L3",
        111: "L7_L7",
        118: "L0_L1 L5_L5",
        124: "L1_L1 L5_L6 L6_L6 L6_L7 L9_L10 L10_L10 L10_L11",
        127: "L2_L6 L3_L3 L3_L4 L3_L5 L3_L7 L5_L5 L5_L7 L5_L8 L6_L6 L8_L8",
        129: "L1_L1 L9_L9",
        150: "L5_L5",
    },
    "random-span": {
        7: "10",
        10: "3",
        11: "7",
        15: "7",
        23: "5",
        28: "8",
        35: "4 10",
        41: "1",
        48: "6",
        52: "7",
        53: "3",
        66: "8",
        78: "8",
        90: "3",
        95: "4",
        97: "5",
        105: "8",
        106: "6",
        121: "7",
        124: "2 3",
        126: "4",
        127: "9",
        134: "1",
        148: "7",
        152: "8",
        159: "9",
        162: "5",
        163: "9",
    },
}
"""Set -> number of the HumanEval problem -> its rows."""


def right_when_empty(split: str) -> set[str]:
    """Names of the rows, as `HumanEval/20/L0`."""
    return {f"HumanEval/{number}/{row}" for number, rows in _PASSING[split].items() for row in rows.split()}
