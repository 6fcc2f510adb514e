"""Experiment specs: what NVIDIA's programs are told besides their command line.

A spec is made from a template of ours (`specs/`, for training or for what follows it), over which the typed values
of the run are laid; or from the user's own spec, in which only paths, classes, the start of the training, epochs and
the folder of results are set. Both are read and written by the schema of the version that will read them, so that
what is written is well formed, and the same for the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf import text_format

from alrun.api.training import TaoNetwork

from ...engine import EngineError
from ..actions import Action
from ..dialects import Dialect, Framework, version_for
from .experiment import Experiment
from .finding import Finding, Severity
from .lint import lint
from .pytorch import text as yaml_text
from .pytorch import values as yaml_experiment
from .templates import template
from .yolo import text as yolo_text
from .yolo import values as yolo_experiment

_USER_SPEC = "spec.training.tao.specRef"
_OVERRIDES = "spec.training.tao.overrides"
_HEADER_LINES = 2


def render(job: Experiment) -> str:
    """The experiment spec of a command, from our template.

    Raises:
        EngineError: a value of the run's is refused, by its field.
    """
    network, version = job.training.network, version_for(job.training)
    text = template(network, job.action)
    if network is TaoNetwork.YOLO_V4:
        if job.anchors is None:  # those of the template are of other data
            raise EngineError(
                "spec.training.tao.anchors",
                "no anchors have been found for this data yet",
                "Write anchors.kmeans to have them found, or anchors.shapes.",
            )
        message = yolo_text.parse(text)
        yolo_experiment.lay_settings(message, job)
        yolo_experiment.lay_run(message, job)
        _override(job, lambda path, value: yolo_experiment.override(message, path, value), yolo_experiment.RESERVED)
        written = yolo_text.write(message)
    else:
        spec = yaml_text.parse(text)
        yaml_experiment.lay_settings(spec, job)
        yaml_experiment.lay_run(spec, job)
        yaml_experiment.drop_unknown(spec, network, version)
        _override(job, lambda path, value: yaml_experiment.override(spec, path, value), yaml_experiment.RESERVED)
        written = yaml_text.write(spec)
    rendered = _header(job, version) + written
    for finding in _errors(rendered, job, version):
        raise EngineError(*_own_field(job, finding))
    return rendered


def fill(raw: str, job: Experiment) -> str:
    """The experiment spec of a command, from a training spec of the user's.

    Raises:
        EngineError: the spec is refused, by its line and field.
    """
    network, version = job.training.network, version_for(job.training)
    written = _fill_yolo(raw, job) if network is TaoNetwork.YOLO_V4 else _fill_yaml(raw, job, version)
    filled = _header(job, version) + written
    findings = _errors(filled, job, version)
    if findings:
        finding = findings[0]
        # The field may stand in the user's own text; where it is one of ours, there is no line to show.
        lines = {own.field: own.line for own in lint(raw, network, version)}
        raise _refused(
            Finding(lines.get(finding.field, 0), finding.severity, finding.field, finding.message, finding.remedy)
        )
    return filled


def resume(text: str, dialect: Dialect, checkpoint: str) -> str:
    """A rendered spec of a training, changed so that it goes on from a checkpoint.

    Raises:
        EngineError: the spec is malformed, or the checkpoint has all its epochs already.
    """
    header = "".join(line for line in text.splitlines(keepends=True)[:_HEADER_LINES] if line.startswith("#"))
    try:
        if dialect.framework is Framework.TF1:
            message = yolo_text.parse(text)
            message.training_config.resume_model_path = checkpoint  # excludes the other ways to start
            epochs, written = message.training_config.num_epochs, yolo_text.write(message)
        else:
            spec = yaml_text.parse(text)
            yaml_experiment.resume(spec, checkpoint)
            epochs, written = int(spec["train"]["num_epochs"]), yaml_text.write(spec)
    except (text_format.ParseError, yaml_text.MalformedError, KeyError, TypeError) as error:
        raise EngineError(_USER_SPEC, f"the spec of the training cannot be read: {error}", "Correct the spec.") from error
    name = checkpoint.rpartition("/")[2]
    done = dialect.checkpoint(name)
    if done is None or done.epoch >= epochs:
        raise EngineError(
            "spec.training.tao.epochs",
            f"a training of {epochs} epochs is to go on from {name}, "
            + (f"which has {done.epoch}: nothing would be trained" if done else "whose name tells no epoch"),
            "Raise epochs, or start from the model's weights with startFrom: PreviousModel.",
        )
    return header + written


def _fill_yolo(raw: str, job: Experiment) -> str:
    for finding in yolo_text.malformed(raw):
        if finding.severity is Severity.ERROR:
            raise _refused(finding)
    message = yolo_text.parse(raw)
    yolo_experiment.lay_run(message, job)
    yolo_experiment.lay_batch(message, job)
    _override(job, lambda path, value: yolo_experiment.override(message, path, value), yolo_experiment.RESERVED)
    return yolo_text.write(message)


def _fill_yaml(raw: str, job: Experiment, version: str) -> str:
    network = job.training.network
    for finding in yaml_text.malformed(raw, network, version):
        raise _refused(finding)
    spec = own = yaml_text.parse(raw)
    if job.action is not Action.TRAIN:
        spec = yaml_text.parse(template(network, job.action))
        yaml_experiment.lay_user(spec, own, job)
        yaml_experiment.drop_unknown(spec, network, version)
    else:
        yaml_experiment.lay_batch(spec, job)
    yaml_experiment.lay_run(spec, job)
    yaml_experiment.drop_unknown(spec, network, version)
    _override(job, lambda path, value: yaml_experiment.override(spec, path, value), yaml_experiment.RESERVED)
    return yaml_text.write(spec)


def _override(job: Experiment, lay: Callable[[str, str], str], reserved: Mapping[str, str]) -> None:
    for path, value in job.training.overrides.items():
        field = f"{_OVERRIDES}.{path}"
        for taken, source in reserved.items():
            if f"{path}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{path}."):
                raise EngineError(
                    field,
                    f"{taken} is set by the run itself",
                    f"Set spec.{source} and delete the override." if source else "Delete the override.",
                )
        problem = lay(path, value)
        if problem:
            raise EngineError(field, f"{value!r} cannot be set: {problem}", "Correct path and value, as in the spec itself.")


def _errors(text: str, job: Experiment, version: str) -> list[Finding]:
    found = lint(
        text,
        job.training.network,
        version,
        job.action,
        train_images=job.train_images,
        val_images=job.val_images,
        gpus=job.gpus,
        images=job.images,
        classes=len(job.tokens),
    )
    return [finding for finding in found if finding.severity is Severity.ERROR]


def _own_field(job: Experiment, finding: Finding) -> tuple[str, str, str]:
    """Field of the resource, message and remedy of what was found in a spec of our making."""
    path, message = finding.field, f"{finding.field} of the experiment spec: {finding.message}"
    for own in job.training.overrides:
        if path == own or path.startswith(f"{own}."):
            return f"{_OVERRIDES}.{own}", message, _sentence(finding.remedy)
    related = yolo_experiment.RELATED if job.training.network is TaoNetwork.YOLO_V4 else yaml_experiment.RELATED
    return f"spec.{related.get(path) or 'training.tao'}", message, _sentence(finding.remedy)


def _refused(finding: Finding) -> EngineError:
    where = [f"line {finding.line}"] if finding.line else []
    what = ": ".join([*where, *([finding.field] if finding.field else []), finding.message])
    return EngineError(_USER_SPEC, what, _sentence(finding.remedy))


def _sentence(remedy: str) -> str:
    return f"{remedy[:1].upper()}{remedy[1:]}."


def _header(job: Experiment, version: str) -> str:
    network = job.training.network.value
    return f"# {network} of TAO {version}, {job.action.value}.\n# Made by alrun for one command; changes to it are lost.\n"
