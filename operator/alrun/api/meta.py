"""Names that users, other programs and old objects in a cluster depend on. Changing one is a breaking change."""

from __future__ import annotations

GROUP = "activelearning.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ActiveLearningRun"
PLURAL = "activelearningruns"
SINGULAR = "activelearningrun"
SHORT_NAME = "alr"
CRD_NAME = f"{PLURAL}.{GROUP}"

FIELD_MANAGER = "activelearningrun-controller"
"""The one owner of status fields, and of every object the operator makes."""

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "alrun"
LABEL_RUN = f"{GROUP}/run"
"""Name of the run; shortened with a hash where it is longer than a label value may be."""
LABEL_RUN_UID = f"{GROUP}/run-uid"
LABEL_STEP = f"{GROUP}/step"
LABEL_CYCLE = f"{GROUP}/cycle"
LABEL_ATTEMPT = f"{GROUP}/attempt"

ANNOTATION_INPUT = f"{GROUP}/step-input"
"""On the pod template: the StepInput as JSON, read by the container through the downward API."""
ANNOTATION_RETRY = f"{GROUP}/retry"
"""On the run: `<cycle>/<step>` with an optional `@<token>`; each new value is obeyed once."""

ANNOTATION_FILES = f"{GROUP}/files"
"""On the pod template of a foreign program's step: its spec files as JSON (name -> text), for the same way."""

INPUT_PATH = "/etc/alrun/step/input.json"
"""Where a step finds its StepInput."""
FILES_PATH = "/etc/alrun/step/files.json"
"""Where a step of a foreign program finds the spec files that were rendered for it."""
WORK_PATH = "/alrun"
"""Volume that the containers of a foreign program's pod share; see `alrun.engines.foreign`."""
SCRATCH_PATH = "/tmp"  # an emptyDir in the step's own pod; nothing else can reach it  # noqa: S108
MOUNT_ROOT = "/var/lib/alrun/stores"
"""`pvc://` stores are mounted below it, one folder a role (`dataset`, `workspace`)."""
PROGRESS_PREFIX = "alrun-progress "
"""A log line that starts so carries one Progress as JSON."""
