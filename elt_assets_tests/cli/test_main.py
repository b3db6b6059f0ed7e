"""How every command begins and ends: help, usage, one line of error, no traceback."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from elt_assets.cli.main import COMMANDS, cli
from elt_assets_tests.cli.conftest import Command, Process
from elt_assets_tests.sync.worlds import Company, World, people


def every_command() -> list[str]:
    """Every command and subcommand, spelled out."""
    spelled = []
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        spelled.append(name)
        if isinstance(command, click.Group):
            spelled += [f"{name} {inner}" for inner in command.commands]
    return spelled


@pytest.mark.parametrize("spelled", every_command())
def test_every_command_has_help_with_an_example(spelled: str) -> None:
    command: click.Command | None = cli
    for name in spelled.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    assert command.help
    assert f"Example: elt-assets {spelled}" in (command.epilog or "") or isinstance(
        command, click.Group
    )


def test_the_list_of_commands_is_shown(elt_assets_process: Process) -> None:
    shown = elt_assets_process("--help")
    assert shown.status == 0
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name} " in shown.out
        assert summary in shown.out


def test_importing_a_command_imports_neither_dagster_nor_what_connectors_read_with() -> None:
    modules = sorted({module for module, _ in COMMANDS.values()})
    code = (
        "import importlib, sys\n"
        "import elt_assets.cli.commands.read_tables\n"
        "assert not {'dlt', 'pyarrow.parquet', 'urllib3'} & sys.modules.keys()\n"
        f"for module in {['main', *(f'commands.{one}' for one in modules)]}:\n"
        "    importlib.import_module(f'elt_assets.cli.{module}')\n"
        "    assert 'dagster' not in sys.modules, module\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'; see `elt-assets --help`"),
        (["users"], "Missing argument 'ORG:ID'; see `elt-assets users --help`"),
        (["sync"], "or give --all (one of the two)"),
        (["sync", "a:b", "--all"], "or give --all (one of the two)"),
        (["demo", "--rounds", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    elt_assets: Command, arguments: list[str], said: str
) -> None:
    ended = elt_assets(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert said in ended.err


@pytest.mark.parametrize("command", ["users", "changes", "rejected", "syncs", "counts"])
def test_a_reading_command_in_the_wrong_folder_fails_and_creates_nothing(
    elt_assets: Command, command: str
) -> None:
    assert "holds no platform yet" in elt_assets(command, "org-001:okta").complaint
    assert not elt_assets.home.exists()


def test_commands_that_read_the_stores_load_no_dagster_and_no_table_printer(
    elt_assets_process: Process,
) -> None:
    """Each is 0.1 to 1.4 s that a person waits for."""
    company = Company(elt_assets_process.home)
    company.connect(world=World(people(3)))
    company.sync()
    company.platform.close()
    commands = [
        *(["syncs"], ["counts"], ["counts", "--exact"], ["users", "acme:main"]),
        *(["integrations", "list"], ["quarantine", "list"], ["health", "--no-server"]),
    ]
    code = (
        "import sys; from elt_assets.cli import main\n"
        f"for arguments in {commands}:\n"
        "    main.cli([*arguments, '--json'], obj=main.Invocation(), standalone_mode=False)\n"
        "heavy = {'dagster', 'grpc', 'gql', 'rich', 'structlog', 'sqlalchemy', 'dlt'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elt_assets_process.folder,
        env=elt_assets_process.variables(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.stderr == "[]\n"
    assert '"acme:main"' in ended.stdout


def test_debug_shows_the_traceback(elt_assets_process: Process) -> None:
    ended = elt_assets_process("--debug", "counts")
    assert ended.status == 1
    assert "Traceback" in ended.err


def test_a_setting_out_of_range_is_one_line_that_names_the_variable(
    elt_assets_process: Process,
) -> None:
    ended = elt_assets_process("counts", more={"ELT_ASSETS_CONCURRENCY": "0"})
    assert "ELT_ASSETS_CONCURRENCY" in ended.complaint


def test_a_home_that_cannot_be_made_is_one_line(elt_assets: Command) -> None:
    (elt_assets.folder / "file").touch()
    ended = elt_assets("demo", more={"ELT_ASSETS_HOME": str(elt_assets.folder / "file" / "home")})
    assert "file/home cannot be made" in ended.complaint


def test_a_defect_is_one_line_too(elt_assets_process: Process) -> None:
    """A planted one: the command's module is replaced by one that breaks when it is asked."""
    code = (
        "import sys; from elt_assets.cli import main; "
        "from elt_assets.cli.commands import read_tables; "
        "read_tables.existing_platform = lambda: 1 / 0; "
        "sys.argv = ['elt-assets', 'counts']; main.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elt_assets_process.folder,
        env=elt_assets_process.variables(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: unexpected ZeroDivisionError: division by zero")
    assert len(ended.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_error(elt_assets_process: Process) -> None:
    ended = subprocess.run(
        f"{sys.executable} -m elt_assets integrations schema rest | true",
        shell=True,
        cwd=elt_assets_process.folder,
        env=elt_assets_process.variables(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.stderr == ""
