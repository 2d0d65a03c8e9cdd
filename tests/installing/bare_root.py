"""A bare Debian root in the place of a container: the steps of the Containerfile run in it as they are written.

It has mounts, processes and a root of its own, no capabilities, and the network, resolver and certificates of the
machine. It is no container: deployments/image/README.md says what that does not show.
"""

import os
import shlex
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.fixtures.upstreams import ROOT
from tests.installing.containerfile import Instruction, Stage

PROGRAMS = ("debootstrap", "unshare", "setpriv", "nsenter")
MIRROR = "http://deb.debian.org/debian"
PACKAGES = "python3,python3-pip,ca-certificates"
"""Besides Debian's essential ones: what the image of Python has."""
CERTIFICATES = "/etc/ssl/machine.pem"
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER = r"""
set -eu
mount --bind "$ROOT" "$ROOT"
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
for place in $FRESH; do mount -t tmpfs -o mode=1777 tmpfs "$ROOT$place"; done
if [ "$READ_ONLY" = yes ]; then mount -o remount,bind,ro "$ROOT"; fi
cd "$ROOT"
exec env -i "$@"
"""
"""Volumes come as an orchestrator's do: root's, and open to all."""


@dataclass(frozen=True, slots=True)
class BareRoot:
    """A directory with a Debian system."""

    path: Path

    def command(
        self, words: list[str], variables: Mapping[str, str], *, user: str | None = None, directory: str = "/"
    ) -> list[str]:
        """The command that runs these words inside: with a user's id on a read-only root, else as the builder."""
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        uid, gid = (user or "0:0").split(":")
        as_user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *rights] if user else []
        inside = f"cd {shlex.quote(directory)} && exec {shlex.join([*as_user, *words])}"
        environment = [f"{name}={value}" for name, value in variables.items()]
        return [
            *("env", f"ROOT={self.path}", f"READ_ONLY={'yes' if user else 'no'}"),
            f"FRESH={'/tmp /var/lib/nexus-hub' if user else ''}",
            *("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"),
            *("/bin/sh", "-c", _ENTER, "sh", *environment),
            *("/usr/sbin/chroot", str(self.path), "/bin/sh", "-c", inside),
        ]

    def run(self, words: list[str], variables: Mapping[str, str], *, directory: str = "/") -> None:
        """Run words as the builder, to their end."""
        done = subprocess.run(
            self.command(words, variables, directory=directory), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"

    def inside(self, path: str) -> Path:
        """A path of the root, as seen from outside."""
        return self.path / path.lstrip("/")


def make_debian(directory: Path, suite: str) -> BareRoot:
    """Make a Debian root with Python under the names that the image of Python gives it."""
    made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(directory), MIRROR]
    # Its own mounts go with it.
    done = subprocess.run(
        ["unshare", "--mount", "--propagation=private", *made], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    shutil.copy("/etc/resolv.conf", directory / "etc" / "resolv.conf")
    shutil.copy(
        ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt", directory / CERTIFICATES[1:]
    )
    (directory / "usr" / "local" / "bin" / "python3").symlink_to("/usr/bin/python3")
    return BareRoot(directory)


def build(stages: list[Stage], debian: BareRoot, directory: Path) -> BareRoot:
    """Run the steps of all stages, each in a copy of the Debian root; return the last one."""
    built: dict[str, BareRoot] = {}
    for number, stage in enumerate(stages):
        root = BareRoot(directory / f"stage-{number}")
        subprocess.run(["cp", "--archive", "--reflink=auto", debian.path, root.path], check=True)
        _take_steps(stage, root, built)
        built[stage.name] = root
    return built[stages[-1].name]


def _take_steps(stage: Stage, root: BareRoot, built: Mapping[str, BareRoot]) -> None:
    variables, directory = {"PATH": BASE_PATH, "HOME": "/root", "PIP_CERT": CERTIFICATES}, "/"
    for step in stage.instructions:
        match step.name:
            case "RUN":
                root.run(["/bin/sh", "-c", step.text], variables, directory=directory)
            case "COPY":
                _copy(step, root, built, directory)
            case "ENV":
                variables |= step.pairs
            case "WORKDIR":
                directory = step.text
                root.inside(directory).mkdir(parents=True, exist_ok=True)
            case "USER":
                assert step is stage.last("USER"), "no step may come after it that needs a user's name"
            case "LABEL" | "EXPOSE" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                pass
            case other:
                raise AssertionError(f"{other} is not known here")


def _copy(step: Instruction, root: BareRoot, built: Mapping[str, BareRoot], directory: str) -> None:
    origin = built[step.options["from"]].path if "from" in step.options else ROOT
    *sources, target = step.arguments
    place = root.inside(os.path.join(directory, target))  # noqa: PTH118
    for source in sources:
        whole = origin / source.lstrip("/")
        if whole.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(
                whole, place, symlinks=True, dirs_exist_ok=True, ignore=None if "from" in step.options else ignored
            )
            continue
        copied = place / whole.name if target.endswith("/") else place
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole, copied)
        if mode := step.options.get("chmod"):
            copied.chmod(int(mode, 8))


@dataclass(frozen=True, slots=True)
class Container:
    """A part that runs in a bare root, and its outside."""

    root: BareRoot
    process: psutil.Popen
    log: Path
    stage: Stage

    @property
    def first(self) -> psutil.Process:
        """Its process 1."""
        (first,) = self.process.children()
        return first

    def healthy(self, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the health check as an engine does, beside the part."""
        words = self.stage.last("HEALTHCHECK").text.partition("CMD ")[2]
        check = Instruction("CMD", words).words
        entered = ["nsenter", f"--target={self.first.pid}", "--mount", "--pid", "--root", "--wd=/"]
        environment = [f"{name}={value}" for name, value in (self.stage.environment | dict(variables)).items()]
        return subprocess.run(
            [*entered, "env", "-i", *environment, *check], capture_output=True, text=True, check=False, timeout=60
        )


@contextmanager
def container(
    root: BareRoot, stage: Stage, words: list[str], variables: Mapping[str, str], log: Path
) -> Iterator[Container]:
    """Run a part as the image's user on a read-only root until the block ends; it is killed if it still runs."""
    command = root.command(
        [*stage.last("ENTRYPOINT").words, *words],
        stage.environment | dict(variables),
        user=stage.last("USER").text,
        directory=stage.last("WORKDIR").text,
    )
    with log.open("wb") as out:
        process = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield Container(root, process, log, stage)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def run_to_end(
    root: BareRoot, stage: Stage, words: list[str], variables: Mapping[str, str], log: Path
) -> tuple[int, str]:
    """Run a command of the image to its end; its exit code, and what it wrote."""
    with container(root, stage, words, variables, log) as started:
        code = started.process.wait(300)
    return code, log.read_text(errors="replace")
