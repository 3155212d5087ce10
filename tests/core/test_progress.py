"""What a person sees while a stage runs."""

import pytest

from genq_export.core.progress import Progress


def test_a_line_stays_whole_where_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    message = "codes of " + ", ".join(f"[runtime]{number}" for number in range(40))
    Progress().say(message)
    Progress(quiet=True).say(message)
    Progress().detail(message)
    assert capsys.readouterr().err == f"{message}\n"
