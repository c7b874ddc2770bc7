"""Installs what the checks need, once, into a cache directory.

Every client's versions are fixed by the lock file beside its program; this module only decides where an
installation lives and when it is stale (its lock file changed). The cache is the directory named by the
environment variable VARVE_CLIENTS_CACHE, and `target/clients` of the repository otherwise.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# An installation that takes longer than this is stuck: the slowest one observed took 50 s.
INSTALL_SECONDS_MAX = 600


class InstallError(Exception):
    """A tool or package that a check needs could not be had; the message says which and why."""


def cache() -> Path:
    """The directory below which everything is installed."""
    default = REPOSITORY / "target" / "clients"
    path = Path(os.environ.get("VARVE_CLIENTS_CACHE", default)).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def quietly(command, **options):
    """Runs an installing command; its output is shown only when it fails."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_SECONDS_MAX,
            **options,
        )
    except FileNotFoundError as error:
        raise InstallError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{' '.join(command)}: no end after {INSTALL_SECONDS_MAX} s") from error
    if done.returncode != 0:
        tail = done.stdout.decode(errors="replace")[-4000:]
        raise InstallError(f"{' '.join(command)}: exit {done.returncode}\n{tail}")


@contextlib.contextmanager
def fresh(name: str, *locks: Path):
    """Yields `(directory, stale)`; the caller fills the directory when it is stale.

    A directory is stale when any of `locks` differs from what it was filled for, or when filling it did not
    finish. Two runs at once take turns.
    """
    directory = cache() / name
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    stamp = directory / ".installed"
    with open(cache() / f".{name}.lock", "w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        stale = not stamp.exists() or stamp.read_text() != digest
        if stale:
            print(f"installing {name} ...", file=sys.stderr, flush=True)
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
        yield directory, stale
        if stale:
            stamp.write_text(digest)


def python(source: Path) -> list:
    """A virtual environment with `requirements.txt` of `source`; the command that starts its Python."""
    requirements = source / "requirements.txt"
    with fresh(f"python-{source.name}", requirements) as (directory, stale):
        if stale:
            quietly([sys.executable, "-m", "venv", directory])
            # The lock file lists every package, so that nothing else is resolved.
            quietly([directory / "bin" / "pip", "install", "--no-deps", "-r", requirements])
        return [str(directory / "bin" / "python")]


def node(source: Path) -> list:
    """The packages of `package-lock.json`; the command that runs the program beside them."""
    program = source / "client.js"
    package, lock = source / "package.json", source / "package-lock.json"
    with fresh(f"node-{source.name}", package, lock, program) as (directory, stale):
        if stale:
            for file in (package, lock, program):
                shutil.copy(file, directory)
            quietly(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=directory)
        return ["node", str(directory / program.name)]


def go(source: Path) -> list:
    """The program built with the modules of `go.sum`; the command that runs it."""
    files = [source / name for name in ("go.mod", "go.sum", "client.go")]
    with fresh(f"go-{source.name}", *files) as (directory, stale):
        binary = directory / "client"
        if stale:
            quietly(["go", "build", "-mod=readonly", "-o", binary, "."], cwd=source)
        return [str(binary)]


def rust(source: Path) -> list:
    """The program built with the packages of `Cargo.lock`; the command that runs it."""
    files = [source / name for name in ("Cargo.toml", "Cargo.lock", "client.rs")]
    with fresh(f"rust-{source.name}", *files) as (directory, stale):
        binary = directory / "client"
        if stale:
            built = directory / "target"
            manifest = source / "Cargo.toml"
            build = ["cargo", "build", "--quiet", "--release", "--locked"]
            quietly([*build, "--manifest-path", manifest, "--target-dir", built])
            shutil.copy(built / "release" / "client", binary)
            # Hundreds of megabytes that nothing else uses.
            shutil.rmtree(built)
        return [str(binary)]


def jars(source: Path) -> Path:
    """The jars that `pom.xml` of `source` names, with all that they need at run time; their directory."""
    pom = source / "pom.xml"
    debian("default-jdk-headless", "javac")
    debian("maven", "mvn")
    with fresh(f"jars-{source.name}", pom) as (directory, stale):
        if stale:
            shutil.copy(pom, directory)
            quietly(
                [
                    "mvn",
                    "--batch-mode",
                    "--quiet",
                    "dependency:copy-dependencies",
                    "-DincludeScope=runtime",
                    f"-DoutputDirectory={directory}",
                ],
                cwd=directory,
            )
        return directory


def java(source: Path, name: str = "Client") -> list:
    """The program compiled against the jars of its `pom.xml`; the command that runs it."""
    libraries = jars(source)
    program = source / f"{name}.java"
    with fresh(f"classes-{source.name}-{name}", source / "pom.xml", program) as (directory, stale):
        if stale:
            # Jars name others in their manifests that are not there, which is nothing to warn of.
            quietly(["javac", "-Xlint:all,-path", "-cp", f"{libraries}/*", "-d", directory, program])
        return ["java", "-Xmx512m", "-cp", f"{directory}:{libraries}/*", name]


def debian(package: str, program: str = None) -> list:
    """A program of a Debian package, by the package's own name unless it has another; the command that runs it."""
    program = program or package
    if shutil.which(program) is None:
        if os.geteuid() != 0:
            raise InstallError(f"{program} is not installed: apt-get install {package}")
        print(f"installing {package} ...", file=sys.stderr, flush=True)
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        quietly(["apt-get", "update"], env=environment)
        quietly(["apt-get", "install", "-y", "--no-install-recommends", package], env=environment)
    return [program]
