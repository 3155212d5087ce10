"""The published schema of `report.json`: `python -m runtime_tests.report.schema` writes it anew after the report
changed.
"""

import json
from pathlib import Path
from typing import Any

from runtime_tests.report.model import Report

SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


def report_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the report object."""
    schema = Report.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def main() -> None:
    """Write the schema file that ships with the package."""
    SCHEMA_FILE.write_text(json.dumps(report_schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
