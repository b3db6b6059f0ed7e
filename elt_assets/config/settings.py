"""The settings of an installation (`ELT_ASSETS_*`), each with its unit, default and limits.

An integration is configured by its provider_data, a run by its Dagster config.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from elt_assets.config.addresses import BrokerAddress, DatabaseAddress
from elt_assets.config.durations import duration
from elt_assets.config.egress import Egress
from elt_assets.config.safeguards import Limits, Safeguards
from elt_assets.config.secret_refs import AllowedSecret, SecretRef
from elt_assets.errors import InvalidInput


def _length_of_time(value: Any) -> Any:
    """Convert a number of seconds, or a text such as 15m or 6h, to a length of time."""
    if isinstance(value, str):
        return timedelta(seconds=float(value)) if value.strip().isdecimal() else duration(value)
    return value


def _reference(given: object) -> object:
    """Convert `env:NAME` or `file:PATH` to the fields of a `SecretRef`."""
    if not isinstance(given, str):
        return given
    kind, colon, place = given.partition(":")
    if kind not in ("env", "file") or not colon or not place:
        # The text is not quoted, because it is most likely the password itself.
        raise ValueError("not a reference: write env:NAME or file:PATH, never the password")
    return {kind: place}


Reference = Annotated[SecretRef | None, BeforeValidator(_reference)]

_LOOKS_LIKE_A_REFERENCE = re.compile(r"\s*\{?\s*(?i:env|file)\s*[:=]|\$[A-Z][A-Z0-9_]+$|\$\{\w+\}$")


def _secret(given: object) -> object:
    """Convert `env:NAME` or `file:PATH`; any text unlike a reference is the secret itself."""
    if not isinstance(given, str) or not _LOOKS_LIKE_A_REFERENCE.match(given):
        return given
    try:
        return _reference(given)
    except ValueError:
        raise ValueError(
            "looks like a reference but is not one: write env:NAME or file:PATH"
        ) from None


Secret = Annotated[SecretRef | SecretStr | None, BeforeValidator(_secret)]
"""A secret, or a reference to it; `secret_refs.revealed` returns its value."""


class InvalidSettings(InvalidInput):
    """Settings that are invalid; `mistakes` has a line for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(f"settings: {'; '.join(mistakes)}")
        self.mistakes = tuple(mistakes)


class Settings(Limits):
    """Settings of one installation, from `ELT_ASSETS_*` environment variables."""

    model_config = ConfigDict(validate_default=True)

    home: Path = Field(Path(".elt_assets"), description="Folder that holds everything written.")
    group_access: Literal["none", "read", "write"] = Field(
        "none",
        description="What the group of the home folder may do with the files in it; volumes that "
        "several accounts share (fsGroup) need write.",
    )
    audit_key: Reference = Field(
        None,
        description="Where the key of the audit log is kept: env:NAME or file:PATH. Machines that "
        "share a database must have the same key. audit.key under home if unset.",
    )
    operational_url: str | None = Field(
        None,
        description="PostgreSQL that applications read, postgresql://user@host:5432/database; "
        "a SQLite file under home if unset.",
    )
    operational_password: Reference = Field(
        None, description="Where the password for OPERATIONAL_URL is kept: env:NAME or file:PATH."
    )
    operational_schema: str = Field(
        "public",
        min_length=1,
        max_length=63,
        description="Schema of the operational database that holds the tables.",
    )
    operational_reader: str | None = Field(
        None,
        description="Role that `config secure` lets read the latest tables and nothing else; if "
        "unset, the stored role stays.",
    )
    operational_row_security: bool | None = Field(
        None,
        description="Whether `config secure` shows OPERATIONAL_READER one organization at a time; "
        "if unset, the stored choice stays, which is off at first.",
    )
    warehouse_url: str | None = Field(
        None,
        description="PostgreSQL that holds the catalog of a DuckLake warehouse, which machines can "
        "share; a DuckDB file for each integration under home if unset. Needs elt-assets[lake].",
    )
    warehouse_password: Reference = Field(
        None, description="Where the password for WAREHOUSE_URL is kept: env:NAME or file:PATH."
    )
    warehouse_schema: str = Field(
        "warehouse",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="Schema in WAREHOUSE_URL's database that holds the catalog and the "
        "bookkeeping tables.",
    )
    warehouse_data: str | None = Field(
        None,
        description="Where the lake's Parquet files are: a folder that all machines share, or "
        "s3://bucket/prefix.",
    )
    s3_endpoint: str | None = Field(
        None,
        pattern=r"^(https?://)?[A-Za-z0-9._\[\]:-]+$",
        description="Address of S3-compatible object storage; Amazon's if unset.",
    )
    s3_region: str = Field("us-east-1", description="Region of the object storage.")
    s3_key_id: Reference = Field(
        None, description="Where the id of the S3 access key is kept: env:NAME or file:PATH."
    )
    s3_secret: Reference = Field(
        None, description="Where the secret of the S3 access key is kept: env:NAME or file:PATH."
    )
    dagster_url: str | None = Field(
        None,
        description="PostgreSQL that holds Dagster's runs, events and schedules; files under home "
        "if unset. Needs elt-assets[postgres-instance].",
    )
    dagster_password: Reference = Field(
        None, description="Where the password for DAGSTER_URL is kept: env:NAME or file:PATH."
    )
    broker_url: str | None = Field(
        None,
        description="Redis through which runs reach workers, redis://host:6379/0 or rediss://…; "
        "the server runs them itself if unset. Needs elt-assets[celery].",
    )
    broker_password: Reference = Field(
        None, description="Where the password for BROKER_URL is kept: env:NAME or file:PATH."
    )
    worker_queue: str = Field(
        "elt_assets",
        pattern=r"^[A-Za-z0-9_.-]{1,100}$",
        description="Queue for runs without the tag dagster-celery/queue, which names another.",
    )
    max_runs: int = Field(
        2, ge=1, le=10_000, description="Most runs at once; with workers, on all workers together."
    )
    pages_per_batch: int = Field(10, ge=1, le=10_000, description="Pages in one checkpoint.")
    concurrency: int = Field(
        8, ge=1, le=256, description="Integrations of a run that are mapped and written at once."
    )
    fetches: int = Field(
        256, ge=1, le=4096, description="Integrations of a run that are fetched at once."
    )
    fetch_memory: int = Field(
        128 * 2**20,
        ge=1024,
        description="Most bytes of all pages of a run that are fetched and not mapped yet; at "
        "least PAGE_BYTES.",
    )
    range_integrations: int = Field(
        250, ge=1, le=10_000, description="Most integrations in one run."
    )
    range_seconds: float = Field(
        1800.0,
        gt=0,
        description="Most expected seconds of work in one run, all integrations together.",
    )
    run_budget: float | None = Field(
        None,
        gt=0,
        description="Seconds after which a run begins no further integration and leaves the rest "
        "to another run.",
    )
    max_pages: int = Field(100_000, ge=1, description="Pages of one extraction before it is cut.")
    fetch_attempts: int = Field(3, ge=1, le=20, description="Tries for one page.")
    fetch_first_wait: float = Field(0.5, ge=0, description="Seconds before the second try.")
    fetch_retry_budget: int = Field(
        200, ge=0, description="Most repeated tries of all pages of one extraction together."
    )
    request_timeout: float = Field(
        30.0, gt=0, description="Seconds for one request, from connecting to the last byte."
    )
    page_timeout: float = Field(
        300.0, gt=0, description="Seconds for one page, with all its tries and waits."
    )
    integration_timeout: float = Field(
        7200.0,
        gt=0,
        description="Seconds for reading one integration before its sync is continued later.",
    )
    page_bytes: int = Field(64 * 2**20, ge=1024, description="Largest page, decompressed, bytes.")
    file_bytes: int = Field(
        16 * 2**30, ge=1024, description="Largest dropped file, decompressed, bytes."
    )
    file_spill_bytes: int = Field(
        2 * 2**30,
        ge=1024,
        description="Largest compressed JSON document: it is decompressed into a temporary file, "
        "bytes.",
    )
    file_expansion: int = Field(
        100,
        ge=2,
        description="How many times as large as itself a compressed file may become, from 32 MiB "
        "on.",
    )
    file_columns: int = Field(2_000, ge=1, description="Most columns of a CSV or Parquet file.")
    file_depth: int = Field(
        64, ge=1, le=200, description="Deepest nesting of a Parquet file's columns."
    )
    parquet_group_bytes: int = Field(
        2**30, ge=1024, description="Largest row group of a Parquet file, decompressed, bytes."
    )
    parquet_open_bytes: int = Field(
        128 * 2**20,
        ge=1024,
        description="Most bytes of a row group that must be in memory at once: one page of each "
        "column, with its dictionary and lists.",
    )
    page_records: int = Field(500_000, ge=1, description="Most records in one page.")
    record_bytes: int = Field(16 * 2**20, ge=1024, description="Largest record in a page, bytes.")
    egress: str | None = Field(
        None,
        description="Where integrations may connect to: any, or a list of public, networks such as "
        "10.1.0.0/16, and networks of one organization such as acme=10.2.0.0/16. If unset, any, "
        "and public under strict tenant rules.",
    )
    lock_wait: float = Field(30.0, ge=0, description="Seconds to wait for a locked file.")
    warehouse_threads: int = Field(1, ge=1, description="DuckDB threads for one integration.")
    warehouse_memory: str = Field("192MB", description="DuckDB memory limit for one integration.")
    warehouse_spill: str = Field(
        "16GB", description="Temporary files that DuckDB may write for one integration."
    )
    events_path: Path | None = Field(
        None, description="Folder of export files of sign-in events; events/ under home if unset."
    )
    events_memory: str = Field("256MB", description="DuckDB memory limit for sign-in events.")
    events_threads: int = Field(2, ge=1, description="DuckDB threads for sign-in events.")
    events_lock_wait: float = Field(
        120.0, ge=0, description="Seconds to wait for the file of sign-in events."
    )
    events_overlap_minutes: float = Field(
        15.0,
        ge=0,
        description="Minutes before the newest known event from which new events are requested.",
    )
    events_settle_seconds: float = Field(
        3.0, ge=0, description="Seconds without a change after which an export file is complete."
    )
    max_recoveries: int = Field(
        100, ge=0, description="Most attempts at one sync after the first one."
    )
    confirm_after: Annotated[timedelta, BeforeValidator(_length_of_time)] = Field(
        timedelta(minutes=15),
        ge=timedelta(0),
        description="Time after which a confirming sync looks for missing records again, and for "
        "which a file must have been unchanged.",
    )
    confirm_every: Annotated[timedelta, BeforeValidator(_length_of_time)] = Field(
        timedelta(hours=6),
        gt=timedelta(0),
        description="Shortest time between two confirming syncs of one integration.",
    )
    max_resume_hours: float = Field(
        24.0, gt=0, description="Age in hours from which an interrupted extraction starts over."
    )
    keep_extractions: int = Field(
        3, ge=1, description="Number of newest extractions whose fetched records are kept."
    )
    keep_changes_days: int = Field(
        400, ge=1, description="Days for which changes can be looked up, replayed and undone."
    )
    keep_syncs_days: int = Field(400, ge=1, description="Days for which past syncs are listed.")
    keep_runs_days: int = Field(30, ge=1, description="Days for which Dagster's runs are kept.")
    keep_drops_days: int = Field(
        30, ge=1, description="Days after which dropped files that are no longer read are archived."
    )
    keep_event_records_days: int = Field(
        90,
        ge=1,
        description="Days for which fetched and normalized records of sign-in events are kept.",
    )
    keep_feed_days: int = Field(
        14, ge=1, description="Days for which entries of the change feed are always kept."
    )
    keep_feed_unread_days: int = Field(
        30,
        ge=1,
        description="Days for which entries that a consumer lacks are kept; after that, the "
        "consumer needs a snapshot. At least KEEP_FEED_DAYS.",
    )
    keep_feed_mb: int = Field(
        10_000,
        ge=64,
        description="Most MB of entries of the change feed in the operational database. Beyond "
        "that, the oldest are deleted, even those that a consumer lacks.",
    )
    events_start: date = Field(
        date(2026, 1, 1), description="First day (UTC) whose sign-in events are loaded."
    )
    events_failed_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Share of integrations whose extraction of a day may fail while the others' "
        "events of that day are still loaded.",
    )
    step_timeout: float = Field(
        120.0, gt=0, description="Seconds after which a step on sign-in events is interrupted."
    )
    log_format: Literal["console", "json"] | None = Field(
        None,
        description="Form of log records: console or json. If unset, runs of the server write "
        "console lines and commands write none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of the log records that are written."
    )
    tracing_endpoint: str | None = Field(
        None,
        pattern="^https?://[^/]",
        description="OTLP/HTTP address that traces are sent to, such as "
        "http://127.0.0.1:4318/v1/traces; needs elt-assets[tracing].",
    )
    tenant_rules: Literal["trusted", "strict"] = Field(
        "trusted",
        description="trusted where the operator writes provider_data, strict where tenants may.",
    )
    tenant_secrets: str = Field(
        "",
        description="Secrets that strict rules allow besides those with the organization's prefix: "
        "env:NAME or file:/PATH, where a * at the end stands for any rest and acme= in front "
        "limits an entry to one organization; separated by commas.",
    )
    allow_code: bool = Field(
        False, description="Let provider_data name code that is imported and run (provider dlt)."
    )
    allowed_hosts: str = Field(
        "",
        description="Names besides localhost under which the web UI, the health endpoint and the "
        "feed are reached, separated by commas.",
    )
    proxy_user_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]{1,100}$",
        description="Request header in which an authenticating proxy names its user to the web UI, "
        "such as X-Forwarded-User. Set it only if no client can reach the UI without the proxy.",
    )
    health_host: str = Field(
        "127.0.0.1", description="Address that /health and /metrics listen on."
    )
    health_port: int = Field(8080, ge=1, le=65535, description="Port of /health and /metrics.")
    feed_host: str = Field("127.0.0.1", description="Address that /feed and /snapshot listen on.")
    feed_port: int = Field(8090, ge=1, le=65535, description="Port of /feed and /snapshot.")
    min_free_mb: int = Field(
        512, ge=0, description="Free space under the home folder below which health fails, MB."
    )
    alert_webhook: Secret = Field(
        None, description="Address that alerts are posted to, as JSON; also env:NAME or file:PATH."
    )
    alert_secret: Secret = Field(
        None, description="Key that signs posted alerts, or env:NAME or file:PATH."
    )
    alert_slack: Secret = Field(
        None,
        description="Incoming webhook of the Slack channel that alerts are sent to; also env:NAME "
        "or file:PATH.",
    )
    alert_email_to: str | None = Field(
        None, description="Mail addresses that alerts are sent to, separated by commas."
    )
    alert_email_from: str | None = Field(None, description="Sender of alerts by mail.")
    smtp_host: str | None = Field(None, description="Mail server that takes alerts.")
    smtp_port: int = Field(587, ge=1, le=65535, description="Port of the mail server.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection to the mail server is encrypted."
    )
    smtp_user: str | None = Field(None, description="Account at the mail server.")
    smtp_password: Secret = Field(
        None, description="Password of SMTP_USER, or env:NAME or file:PATH."
    )
    show_personal_values: bool = Field(
        False, description="Put changed values, not only field names, into run metadata."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: dict[str, object]) -> dict[str, object]:
        """Add the `ELT_ASSETS_*` variables, in either case; `given` takes precedence."""
        names = {f"ELT_ASSETS_{name}".upper(): name for name in cls.model_fields}
        variables = ((variable.upper(), text) for variable, text in os.environ.items())
        return {names[key]: text for key, text in variables if key in names} | given

    @field_validator("egress")
    @classmethod
    def _a_policy(cls, text: str | None) -> str | None:
        if text is not None:
            Egress.parse(text)
        return text

    @field_validator("tenant_secrets")
    @classmethod
    def _secrets_by_name(cls, text: str) -> str:
        for entry in filter(None, (entry.strip() for entry in text.split(","))):
            AllowedSecret.parse(entry)
        return text

    @field_validator("alert_webhook", "alert_slack")
    @classmethod
    def _an_address(cls, given: SecretRef | SecretStr | None) -> SecretRef | SecretStr | None:
        if isinstance(given, SecretStr) and not re.match(
            r"https?://[^/]", given.get_secret_value()
        ):
            raise ValueError("not an http(s) address")
        return given

    @field_validator("warehouse_url", mode="before")
    @classmethod
    def _no_catalog_of_files(cls, url: object) -> object:
        if isinstance(url, str) and re.match(r"(sqlite|duckdb|ducklake:(?!postgres)|[^:]*$)", url):
            raise ValueError(
                "a lake that several processes write to needs its catalog on PostgreSQL: with a "
                "SQLite or DuckDB file, most concurrent commits fail. Write "
                "postgresql://user@host:5432/database, or leave it unset"
            )
        return url

    @field_validator("operational_url", "warehouse_url", "dagster_url", "broker_url")
    @classmethod
    def _an_address_without_password(cls, url: str | None, info: ValidationInfo) -> str | None:
        # The settings of address and password share a prefix.
        name = str(info.field_name).removesuffix("_url")
        kind = BrokerAddress if name == "broker" else DatabaseAddress
        try:
            if url is not None:
                kind.parse(url, password_setting=f"ELT_ASSETS_{name.upper()}_PASSWORD")
        except InvalidInput as error:
            raise ValueError(str(error)) from None
        return url

    @model_validator(mode="after")
    def _fetching_has_room(self) -> Self:
        if self.fetch_memory < self.page_bytes:
            raise ValueError(
                f"ELT_ASSETS_FETCH_MEMORY is {self.fetch_memory:,}, less than "
                f"ELT_ASSETS_PAGE_BYTES ({self.page_bytes:,}): it must hold the largest page; "
                "raise it, or lower ELT_ASSETS_PAGE_BYTES"
            )
        if self.fetches < self.concurrency:
            raise ValueError(
                f"ELT_ASSETS_FETCHES is {self.fetches}, less than ELT_ASSETS_CONCURRENCY "
                f"({self.concurrency}): raise it, or lower ELT_ASSETS_CONCURRENCY"
            )
        return self

    @model_validator(mode="after")
    def _unread_entries_are_kept_longer(self) -> Self:
        if self.keep_feed_unread_days < self.keep_feed_days:
            raise ValueError(
                f"ELT_ASSETS_KEEP_FEED_UNREAD_DAYS is {self.keep_feed_unread_days}, less than "
                f"ELT_ASSETS_KEEP_FEED_DAYS ({self.keep_feed_days}): entries that a consumer "
                "lacks are kept at least as long as the others"
            )
        return self

    @model_validator(mode="after")
    def _a_lake_is_whole(self) -> Self:
        if (self.warehouse_url is None) != (self.warehouse_data is None):
            raise ValueError(
                "ELT_ASSETS_WAREHOUSE_URL and ELT_ASSETS_WAREHOUSE_DATA belong together: the "
                "catalog of a lake and its files"
            )
        on_s3 = self.warehouse_data is not None and self.warehouse_data.startswith("s3://")
        if on_s3 and not (self.s3_key_id and self.s3_secret):
            raise ValueError(
                "ELT_ASSETS_WAREHOUSE_DATA in S3 needs ELT_ASSETS_S3_KEY_ID and "
                "ELT_ASSETS_S3_SECRET too: where the access key is kept"
            )
        if self.warehouse_url is not None and self.operational_url is None:
            raise ValueError(
                "ELT_ASSETS_WAREHOUSE_URL needs ELT_ASSETS_OPERATIONAL_URL too: a warehouse that "
                "machines share goes with an operational database that they share"
            )
        return self

    @model_validator(mode="after")
    def _workers_share_an_instance(self) -> Self:
        if self.broker_url is not None and self.dagster_url is None:
            raise ValueError(
                "ELT_ASSETS_BROKER_URL needs ELT_ASSETS_DAGSTER_URL too: a worker learns what to "
                "run from Dagster's instance, which must not be files of one machine"
            )
        return self

    @model_validator(mode="after")
    def _strict_rules_end_at_the_machine(self) -> Self:
        if self.tenant_rules == "strict" and self.egress_policy.anything:
            raise ValueError(
                "ELT_ASSETS_TENANT_RULES=strict does not go with ELT_ASSETS_EGRESS=any, which "
                "lets tenants reach this machine and its networks: write public, and the networks "
                "that are open, such as public,acme=10.2.0.0/16"
            )
        return self

    @model_validator(mode="after")
    def _mail_has_a_way(self) -> Self:
        if self.alert_email_to and not (self.smtp_host and self.alert_email_from):
            raise ValueError(
                "ELT_ASSETS_ALERT_EMAIL_TO needs ELT_ASSETS_SMTP_HOST and "
                "ELT_ASSETS_ALERT_EMAIL_FROM too"
            )
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError(
                "ELT_ASSETS_SMTP_USER would send its password readable by anybody on the way: "
                "set ELT_ASSETS_SMTP_SECURITY to starttls or tls"
            )
        return self

    @property
    def keep_feed_bytes(self) -> int:
        """The most bytes that entries of the change feed may take."""
        return self.keep_feed_mb * 1_000_000

    @property
    def egress_policy(self) -> Egress:
        """The addresses to which integrations may connect."""
        return Egress.parse(self.egress or ("public" if self.tenant_rules == "strict" else "any"))

    @property
    def tenant_secret_list(self) -> tuple[AllowedSecret, ...]:
        """The secrets that strict rules allow besides those with the organization's prefix."""
        entries = (entry.strip() for entry in self.tenant_secrets.split(","))
        return tuple(AllowedSecret.parse(entry) for entry in entries if entry)

    @property
    def safeguards(self) -> Safeguards:
        """The installation's limits on harm and rejects."""
        return Safeguards(**{name: getattr(self, name) for name in Limits.model_fields})

    @property
    def operational_address(self) -> DatabaseAddress | None:
        """The address of the operational database; None for a SQLite file."""
        return DatabaseAddress.configured(self.operational_url, self.operational_password)

    @property
    def warehouse_address(self) -> DatabaseAddress | None:
        """The address of the lake's catalog; None if each integration has a file."""
        return DatabaseAddress.configured(self.warehouse_url, self.warehouse_password)

    @property
    def dagster_address(self) -> DatabaseAddress | None:
        """The address of Dagster's database; None for files under home."""
        return DatabaseAddress.configured(self.dagster_url, self.dagster_password)

    @property
    def broker_address(self) -> BrokerAddress | None:
        """The address of the workers' broker; None for an installation without workers."""
        return BrokerAddress.configured(self.broker_url, self.broker_password)

    @property
    def database_path(self) -> Path:
        """The path of the operational database if it is a SQLite file."""
        return self.home / "oltp.db"

    @property
    def warehouse_path(self) -> Path:
        """The folder of DuckDB files, `<organization>/<integration>.duckdb`."""
        return self.home / "olap"

    @property
    def analytics_path(self) -> Path:
        """The folder of the sign-in events' file, separate from folders named after tenants."""
        return self.home / "analytics"

    @property
    def drops_path(self) -> Path:
        """The folder in which files are dropped, `<organization>/<integration>/`."""
        return self.home / "drops"

    @property
    def events_folder(self) -> Path:
        """The folder of export files of sign-in events, `YYYY-MM-DD/`."""
        return self.events_path or self.home / "events"

    @property
    def archive_path(self) -> Path:
        """The folder of dropped files that are no longer read, compressed."""
        return self.home / "archive"

    @property
    def dagster_path(self) -> Path:
        """The folder that is used if DAGSTER_HOME is unset."""
        return self.home / "dagster"


def load_settings(**overrides: object) -> Settings:
    """Load the settings from the environment; `overrides` take precedence.

    Raises `InvalidSettings` naming each mistake.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise InvalidSettings(
            [
                "".join(f"ELT_ASSETS_{str(name).upper()}: " for name in issue["loc"][:1])
                + issue["msg"].removeprefix("Value error, ")
                for issue in error.errors()
            ]
        ) from None
    places: dict[str, object] = {"home": settings.home.expanduser().absolute()}
    if settings.warehouse_data is not None and "://" not in settings.warehouse_data:
        places["warehouse_data"] = str(Path(settings.warehouse_data).expanduser().absolute())
    if settings.events_path is not None:
        places["events_path"] = settings.events_path.expanduser().absolute()
    return settings.model_copy(update=places)
