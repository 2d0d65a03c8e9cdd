"""The command `nexus-hub`."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from nexus_hub import __version__
from nexus_hub.cli import calls, configuration, pins, servers, vault
from nexus_hub.cli.approvals import approvals
from nexus_hub.cli.audit import audit
from nexus_hub.cli.bundles import bundles
from nexus_hub.cli.cleanup import cleanup
from nexus_hub.cli.console import console
from nexus_hub.cli.context import FAILED, Json, exit_code
from nexus_hub.cli.credentials import credentials
from nexus_hub.cli.groups import access, groups
from nexus_hub.cli.mcp import mcp
from nexus_hub.cli.users import users
from nexus_hub.errors import HubError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 120},
    rich_markup_mode=None,  # its help looks nicer and takes longer to import than all else together
    help="One hub for all the MCP servers of a team.",
)
app.add_typer(servers.servers, name="server")
app.add_typer(users, name="user")
app.add_typer(bundles, name="bundle")
app.add_typer(groups, name="group")
app.add_typer(credentials, name="credential")
app.add_typer(vault.vault, name="vault")
app.add_typer(calls.jobs, name="job")
app.add_typer(approvals, name="approval")
app.add_typer(pins.pins, name="pin")
app.add_typer(pins.tool_switches, name="tool")
app.add_typer(mcp, name="mcp")
for command in (calls.call, calls.tools, calls.resources, calls.prompts, servers.sync, cleanup, console, audit, access):
    app.command()(command)
app.command()(configuration.plan)
app.command()(configuration.apply)
app.command()(configuration.export)


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return once jobs can be sent and run.")] = False,
    temporary: Annotated[bool, typer.Option("--temporary", hidden=True)] = False,
    as_json: Json = False,
) -> None:
    """Start everything on this machine: PostgreSQL, Prefect, the API and a worker."""
    from nexus_hub.cli import stack
    from nexus_hub.settings import load

    raise typer.Exit(stack.up(load(), detach=detach, temporary=temporary, as_json=as_json))


@app.command()
def down(as_json: Json = False) -> None:
    """Stop everything that `up` started."""
    from nexus_hub.cli import stack
    from nexus_hub.settings import load

    raise typer.Exit(stack.down(load(), as_json=as_json))


@app.command()
def status(
    jobs: Annotated[bool, typer.Option("--jobs", help="Show how many jobs wait and run, user by user.")] = False,
    as_json: Json = False,
) -> None:
    """Show the parts, their ports, processes and health."""
    if jobs:
        from nexus_hub.cli.queue import show_queue

        return show_queue(as_json=as_json)
    from nexus_hub.cli import stack
    from nexus_hub.settings import load

    raise typer.Exit(stack.status(load(), as_json=as_json))


@app.command()
def demo(as_json: Json = False) -> None:
    """Start a hub of its own, run one real tool call as a durable job, show it, and stop."""
    from nexus_hub.cli.demo import demo as show

    raise typer.Exit(show(as_json=as_json))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check the installation, the home and all that runs, and say what to do about what is wrong."""
    from nexus_hub.cli.doctor import doctor as examine

    raise typer.Exit(examine(as_json=as_json))


@app.command()
def migrate(
    partition_jobs: Annotated[
        bool,
        typer.Option("--partition-jobs", help="Then put the jobs into partitions by day, for good; see docs/scale.md."),
    ] = False,
) -> None:
    """Bring the database's schema up to date; can run twice."""
    from nexus_hub.cli import stack
    from nexus_hub.settings import load

    raise typer.Exit(stack.migrate(load(), partition=partition_jobs))


@app.command()
def deploy() -> None:
    """Tell Prefect of the work pool and the deployments; can run twice."""
    from nexus_hub.cli.part import become
    from nexus_hub.settings import load

    become(load(), "deploy", "deployments.deploy")


@app.command()
def api() -> None:
    """Run the API in this process."""
    from nexus_hub.api.app import serve
    from nexus_hub.settings import load

    serve(load())


@app.command()
def worker() -> None:
    """Run a worker in this process."""
    from nexus_hub.cli.part import become
    from nexus_hub.settings import load

    become(load(), "worker", "deployments.worker.serve")


@app.command()
def version() -> None:
    """Show the version."""
    from nexus_hub.cli.output import Output

    Output(as_json=False).line(__version__)


def main() -> None:
    """Run the command line; what follows --command belongs to the server that is added."""
    forgive_characters()
    arguments, words = split_command(sys.argv[1:])
    try:
        app(args=arguments, obj={"command": words}, standalone_mode=True)
    except HubError as error:
        from nexus_hub.cli.output import write_error

        write_error(error.message)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)


def split_command(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Split off everything after `--command` of `server add`, which options of ours can't reach into."""
    if arguments[:2] != ["server", "add"]:
        return arguments, []
    for position, argument in enumerate(arguments):
        option, joined, word = argument.partition("=")
        if option == "--command":
            return arguments[:position], [*([word] if joined else []), *arguments[position + 1 :]]
    return arguments, []


def forgive_characters() -> None:
    """Spell out what the terminal's encoding lacks; a tool may answer anything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
