"""A company's code location: its own asset and job, next to a directory that elt_assets syncs.

`dagster dev -f examples/embedded/definitions.py` loads it into any deployment.
"""

import dagster as dg

import elt_assets

# The names of every asset, job, sensor and resource of the directory contain this prefix.
DIRECTORY = "directory"


@dg.asset(
    deps=[dg.AssetKey([DIRECTORY, "users_latest"])],
    partitions_def=dg.DynamicPartitionsDefinition(name=f"{DIRECTORY}_connected_integrations"),
    automation_condition=dg.AutomationCondition.eager(),
)
def seats(
    context: dg.AssetExecutionContext,
    elt_assets_directory: dg.ResourceParam[elt_assets.SyncService],
) -> dg.MaterializeResult:
    """Count the active users of an integration as seats, after each sync of its directory."""
    integration = elt_assets.IntegrationRef.parse(context.partition_key)
    users = elt_assets_directory.records(elt_assets.STREAMS["users"], integration)
    return dg.MaterializeResult(metadata={"seats": sum(bool(user["active"]) for user in users)})


@dg.op
def copy_invoices() -> None:
    """The company's own work."""


@dg.job
def sync() -> None:
    """A job of the company with the same name as a job of elt_assets."""
    copy_invoices()


# A module has one object of type `Definitions`: Dagster refuses a second one.
defs = dg.Definitions.merge(
    dg.Definitions(assets=[seats], jobs=[sync], executor=dg.multiprocess_executor),
    elt_assets.build_defs(
        key_prefix=DIRECTORY,
        group="identity",
        owners=["team:it"],
        settings=elt_assets.load_settings(),
        streams=["users"],
        events=False,
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL),
    ),
)
