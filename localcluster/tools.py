"""Programs that the cluster is made of: found, or brought from the registries, once for each machine."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from .settings import CACHE, GO, GO_SHA256, KIND, KUBERNETES, ROOT, VERSITYGW
from .shell import SetUpError, run, say, succeeds

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""Names of the browser, as distributions have it; the first is Debian's."""
SOURCES = ROOT / "localcluster" / "go"
_OLDEST_GO = (1, 21)  # from here on, go fetches the toolchain that a module asks for by itself


def debian_packages(programs: dict[str, str]) -> None:
    """Install the Debian package of each program that is missing.

    Raises:
        SetUpError: something is missing and this is no Debian, or we are not root.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({package for program, package in programs.items() if not _present(program, path)})
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise SetUpError(f"these Debian packages are needed, and only root can install them: {' '.join(missing)}")
    say(f"installing Debian packages: {' '.join(missing)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    if not succeeds(*install, env=env, timeout=600):  # the usual cause is a stale or absent package index
        run("apt-get", "update", "-qq", env=env)
        run(*install, env=env)


def _present(program: str, path: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program, path=path) is not None


def architecture() -> str:
    """This machine in Go's terms."""
    names = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    machine = platform.machine()
    if machine not in names:
        raise SetUpError(f"no local cluster for the processor {machine}: use CONTEXT=<name of your own cluster's context>")
    return names[machine]


def go() -> Path:
    """The Go command: the machine's own where it is new enough, else the toolchain from the module proxy."""
    found = shutil.which("go")
    if found:
        version = re.search(r"go(\d+)\.(\d+)", run(found, "version"))
        if version and (int(version[1]), int(version[2])) >= _OLDEST_GO:
            return Path(found)
    arch = architecture()
    home = CACHE / f"go-{GO}"
    if not (home / "bin" / "go").exists():
        name = f"v0.0.1-go{GO}.linux-{arch}"
        say(f"fetching Go {GO} from the module proxy (70 MB)")
        proxy = os.environ.get("GOPROXY", "https://proxy.golang.org").split(",")[0].rstrip("/")
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            archive = Path(folder, "go.zip")
            with (
                urllib.request.urlopen(f"{proxy}/golang.org/toolchain/@v/{name}.zip", timeout=120) as source,
                archive.open("wb") as to,
            ):
                shutil.copyfileobj(source, to)
            found_sum = hashlib.sha256(archive.read_bytes()).hexdigest()
            if found_sum != GO_SHA256[arch]:
                raise SetUpError(
                    f"the Go toolchain from {proxy} has the SHA-256 {found_sum}, not {GO_SHA256[arch]}; not used"
                )
            with zipfile.ZipFile(archive) as content:
                content.extractall(folder)
            unpacked = Path(folder, f"golang.org/toolchain@{name}")
            for program in (*unpacked.glob("bin/*"), *unpacked.glob("pkg/tool/*/*")):
                program.chmod(0o755)
            shutil.move(unpacked, home)
    return home / "bin" / "go"


def kubernetes() -> Path:
    """Folder with every component of Kubernetes, kubectl among them."""
    folder = CACHE / "bin" / f"k8s-{KUBERNETES}"
    if not (folder / "k8s").exists():
        say(f"building Kubernetes {KUBERNETES} from its Go modules: about 5 minutes on 2 cores, once for this machine")
        flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
        _build(folder / "k8s", "build", "-trimpath", f"-ldflags={flags}", "-o", str(folder / "k8s.part"), "./k8s")
    for component in COMPONENTS:
        link = folder / component
        if not link.is_symlink():
            link.symlink_to("k8s")
    return folder


def pause() -> Path:
    """The program of the pause image."""
    program = CACHE / "bin" / "pause-1" / "pause"
    if not program.exists():
        _build(program, "build", "-trimpath", "-ldflags=-s -w", "-o", f"{program}.part", "./pause")
    return program


def versitygw() -> Path:
    """versitygw, an S3 service on a folder, linked statically so that its image needs nothing else."""
    program = CACHE / "bin" / f"versitygw-{VERSITYGW}" / "versitygw"
    if not program.exists():
        say(f"building versitygw {VERSITYGW}: about a minute")
        _install(program, f"github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW}")
    return program


def kind() -> Path:
    """kind, for machines with Docker."""
    found = shutil.which("kind")
    if found:
        return Path(found)
    program = CACHE / "bin" / f"kind-{KIND}" / "kind"
    if not program.exists():
        say(f"building kind {KIND}: about a minute")
        _install(program, f"sigs.k8s.io/kind@v{KIND}")
    return program


def browser() -> Path:
    """Chromium, in which the report is looked at: the machine's own, else Debian's."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return Path(found)
    debian_packages({BROWSERS[0]: "chromium"})
    found = shutil.which(BROWSERS[0])
    if found is None:
        raise SetUpError("the Debian package chromium has brought no program chromium")
    return Path(found)


def kubectl() -> Path:
    """kubectl: the machine's own, else the one of our build."""
    found = shutil.which("kubectl")
    return Path(found) if found else kubernetes() / "kubectl"


def _build(program: Path, *arguments: str) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    run(go(), *arguments, cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0"})
    Path(f"{program}.part").rename(program)  # whole or not at all, should the build be interrupted


def _install(program: Path, module: str) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        run(go(), "install", "-trimpath", "-ldflags=-s -w", module, env={**os.environ, "CGO_ENABLED": "0", "GOBIN": folder})
        Path(folder, program.name).rename(program)
