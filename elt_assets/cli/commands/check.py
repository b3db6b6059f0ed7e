"""`elt-assets check`: run the standing asset checks, for CI and cron."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform
from elt_assets.config.settings import load_settings
from elt_assets.errors import EltAssetsError

if TYPE_CHECKING:
    import dagster as dg


@click.command(
    epilog="Example: elt-assets check --json\n\n"
    "Exit status: 1 if a check of ERROR severity fails, else 0."
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Read every warehouse, including those that have not changed since they last passed.",
)
@as_json
def check(everything: bool, as_json: bool) -> int:
    """Run the standing asset checks over all integrations and record them for the web UI.

    Reads the warehouses that have changed since they last passed, and a share of the others, so
    that each is read within seven days.
    """
    with existing_platform():
        pass
    checks = [_row(evaluation) for evaluation in _evaluations(everything)]
    if as_json:
        print_json({"checks": checks})
    else:
        columns = ("asset", "check", "result", "severity", "looked_at", "offending", "sample")
        print_table(
            columns,
            [[", ".join(row[c]) if c == "sample" else row[c] for c in columns] for row in checks],
        )
        not_due = max(row["not_due"] or 0 for row in checks)
        if not_due:
            note(
                f"{not_due:,} warehouses have not changed since they last passed and were not "
                "read; --all reads every warehouse"
            )
    broken = any(row["result"] == "failed" and row["severity"] == "ERROR" for row in checks)
    return FAILED if broken else 0


def _evaluations(everything: bool) -> list[dg.AssetCheckEvaluation]:
    from elt_assets.definitions import assembled
    from elt_assets.orchestration.checks.sync_checks import check_job, reading_everything
    from elt_assets.orchestration.instance.opening import open_instance
    from elt_assets.orchestration.jobs.sync_jobs import QUIET_CONSOLE

    with open_instance(load_settings()) as instance:
        result = (
            assembled()
            .resolve_job_def(check_job().name)
            .execute_in_process(
                instance=instance,
                run_config={
                    "loggers": QUIET_CONSOLE,
                    **(reading_everything() if everything else {}),
                },
                raise_on_error=False,
            )
        )
    evaluations = result.get_asset_check_evaluations()
    if not evaluations:
        raise EltAssetsError(
            f"the checks could not run; `elt-assets dev` shows run {result.run_id} and its errors"
        )
    return list(evaluations)


def _row(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    metadata = evaluation.metadata
    sample = str(metadata["sample"].value)
    return {
        "check": evaluation.check_name,
        "asset": evaluation.asset_key.to_user_string(),
        "result": "passed" if evaluation.passed else "failed",
        "severity": evaluation.severity.value,
        "looked_at": metadata["looked_at"].value if "looked_at" in metadata else None,
        "offending": metadata["offending"].value,
        "not_due": metadata["not_due"].value if "not_due" in metadata else None,
        "sample": [line.removeprefix("- ") for line in sample.splitlines() if line != "none"],
    }
