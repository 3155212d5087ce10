"""Templates of the report."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(autoescape: bool) -> Environment:
    """An environment over `runtime_tests/report/templates`, in which a name that is missing is an error.

    Args:
        autoescape: Escape for HTML.
    """
    return Environment(
        loader=PackageLoader("runtime_tests.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not autoescape,
    )
