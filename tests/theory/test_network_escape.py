"""What is read off the course of a network: no training here."""

import numpy as np

from scripts.theory_report.network_escape import Course, chosen
from theory.checking import Effort


def course_of(*thickness):
    count = len(thickness)
    return Course(np.array(thickness), np.full(count, 0.1), np.full(count, 3))


def test_collapse_is_left_at_the_first_epoch_above_one_half():
    found = course_of(0.25, 0.1, 0.3, 0.6, 0.05, 0.7)
    assert found.left == 3
    assert found.thinnest == 1  # not the dip that comes after


def test_a_network_may_stay_collapsed():
    found = course_of(0.25, 0.2, 0.1)
    assert found.left is None
    assert found.thinnest == 2


def test_the_default_report_trains_a_few_of_all_runs():
    few, all_of_them = chosen(Effort.DEFAULT), chosen(Effort.FULL)
    assert set(few[0]) < set(all_of_them[0])
    assert set(few[1]) < set(all_of_them[1])
