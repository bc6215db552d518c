"""The experiments by their names, as tables to look through, and which of them have been run."""

from collections import defaultdict
from fnmatch import fnmatch

from scripts.experiments.catalogue import SMALL_SETS, catalogue
from scripts.experiments.paper import METHODS, paper_values
from scripts.runs import markdown

REPORTED = {
    **{f"{data}-*": "all" for data in SMALL_SETS if data != "grouped100"},
    **{
        f"{data}-{method.word}{change}": f"`METHOD{change}`"
        for data, changes in {
            "fashion_mnist": ("", "-near_nc", "-unit_sphere", "-none"),
            "grouped100": ("",),
        }.items()
        for method in METHODS
        for change in changes
    },
    **{
        f"fashion_mnist-{name}": "others in part"
        for name in (
            *("scl-lr*", "hscl5-lr*", "ucl-lr*", "hucl5-lr*"),
            *("scl-batch*", "hscl5-batch*", "ucl-batch*"),
            *("scl-resnet18", "hscl5-resnet18"),
        )
    },
}
"""Patterns of names whose runs are in docs/results.md and docs/training.md, and a word for them."""

METHOD_WORDS = [method.word for method in METHODS]


def overview() -> str:
    """A Markdown table of the data sets, of what follows in names of experiments, and what was run.

    METHOD stands for each of the ten methods, or, with `-simclr`, for the unsupervised ones.
    """
    names = defaultdict(list)
    for name in catalogue():
        data, _, rest = name.partition("-")
        names[data].append(rest)
    rows = []
    for data, experiments in names.items():
        forms = dict.fromkeys(_without_method(rest) for rest in experiments)
        run = dict.fromkeys(
            word for pattern, word in REPORTED.items() if pattern.partition("-")[0] == data
        )
        rows.append([f"`{data}-`", ", ".join(f"`{form}`" for form in forms), ", ".join(run)])
    return "\n".join(markdown.table(["data", "experiments", "run here"], rows))


def _without_method(rest: str) -> str:
    """`hscl5-near_nc` as `METHOD-near_nc`."""
    first, dash, others = rest.partition("-")
    return f"METHOD{dash}{others}" if first in METHOD_WORDS else rest


def listing(pattern: str) -> str:
    """A Markdown table of named experiments, with the paper's values where there are any.

    The pattern is a part of the name, or has "*" for any text.
    """
    pattern = pattern if "*" in pattern else f"*{pattern}*"
    rows = []
    for name, experiment in catalogue().items():
        if fnmatch(name, pattern):
            paper = paper_values(experiment)
            values = (
                ["", "", ""]
                if paper is None
                else [paper.equal_inner_product, f"{paper.directions} of 99", paper.top1]
            )
            run = any(fnmatch(name, reported) for reported in REPORTED)
            rows.append([f"`{name}`", *values, "yes" if run else ""])
    header = ["name", "the paper: equal-ip", "directions", "top-1 %", "run here"]
    return "\n".join(markdown.table(header, rows))
