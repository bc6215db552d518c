"""A run of seconds that is finished."""

from scripts import train

COMMAND = ["triangle-hscl5", "--epochs", "1", "--devices", "1"]
RUN = "triangle-hscl5"


def train_whole(out):
    """The directory in which the run is, once it has been trained there."""
    assert train.main([*COMMAND, "--out", str(out)]) == 0
    return out
