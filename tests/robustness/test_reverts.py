"""The table of mends fits the tree, and a row really turns red without its mend."""

import re
from pathlib import Path

import pytest

from tests.robustness.bad_inputs import ROWS
from tests.robustness.reverts import MENDS, ROOT, Mend, copy_of_the_tree, is_red


@pytest.mark.parametrize("mend", MENDS, ids=lambda mend: mend.name)
def test_a_mend_stands_where_the_table_says_and_has_a_row(mend: Mend) -> None:
    assert (ROOT / mend.file).read_text().count(mend.mended) == 1
    assert any(re.search(mend.row, row.title) for row in ROWS)


@pytest.mark.slow
def test_without_a_mend_a_row_is_red(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    assert not [mend.name for mend in MENDS if not is_red(mend, tree)]
