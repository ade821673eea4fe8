"""Faults of `sh run_scripts/mutation.sh` follow the source."""

from pathlib import Path

import pytest
from mutation.faults import FAULTS, planted

pytestmark = pytest.mark.tensorflow_only

ROOT = Path(__file__).resolve().parents[2]


def test_the_source_has_the_text_of_every_fault():
    for fault in FAULTS:
        assert planted(fault, ROOT) != (ROOT / fault.path).read_text(encoding="utf-8")


def test_the_tests_that_must_notice_are_there():
    assert {
        t for fault in FAULTS for t in fault.tests if not (ROOT / t).exists()
    } == set()


def test_a_text_that_is_gone_is_named():
    gone = FAULTS[0]._replace(old="no such text")
    with pytest.raises(ValueError, match="Received: 0 times 'no such text'"):
        planted(gone, ROOT)
