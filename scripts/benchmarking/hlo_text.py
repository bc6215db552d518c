"""What the text of a compiled program says of its size and of what devices exchange."""

import re
from collections import Counter

KINDS = ("all-gather", "all-reduce", "collective-permute", "reduce-scatter", "all-to-all")


def instruction_count(text: str) -> int:
    """The number of instructions in HLO text, in all computations.

    Example:
        >>> instruction_count("ENTRY %f {\\n  %a = f32[] sin(%x)\\n  ROOT %b = f32[] tan(%a)\\n}")
        2
    """
    return sum(re.match(r"\s*(ROOT )?%\S+ = ", line) is not None for line in text.splitlines())


def collectives(text: str) -> dict[str, int]:
    """Numbers of the collectives in HLO text, by kind; an asynchronous pair counts as one.

    Example:
        >>> collectives("%a = f32[] all-reduce-start(%b), x\\n%c = f32[] all-reduce-done(%a)")
        {'all-reduce': 1}
    """
    pattern = rf"\s({'|'.join(KINDS)})(-start)?\("
    return dict(Counter(found[0] for found in re.findall(pattern, text)))


def overlap(text: str) -> str:
    """Whether work stands between the start and the end of every asynchronous permute.

    Of scheduled HLO text: "k of n enclose work", where work is a loop or a multiplication (of
    tiles); "" without any permute.

    Example:
        >>> overlap("%s.1 = (f32[]) collective-permute-start(%x)\\n%w = f32[] while(%y)\\n"
        ...         "%d = f32[] collective-permute-done(%s.1)")
        '1 of 1 enclose work'
    """
    lines = text.splitlines()
    starts = {
        found[1]: number
        for number, line in enumerate(lines)
        if (found := re.search(r"%(\S+) = .*collective-permute-start\(", line))
    }
    enclosing = total = 0
    for number, line in enumerate(lines):
        found = re.search(r"collective-permute-done\((?:.*?)%([^\s),]+)\)", line)
        if found and found[1] in starts:
            between = "\n".join(lines[starts[found[1]] + 1 : number])
            total += 1
            work = r"\s(while|convolution|dot)\(|convolution|calls=%\S*(dot|conv)"
            enclosing += bool(re.search(work, between))
    return f"{enclosing} of {total} enclose work" if total else ""
