"""Kinds of values that several parts of the spec have, and references to other objects."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from .base import Model

ResourceName = Annotated[
    str,
    StringConstraints(max_length=316, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"),
]


ImageName = Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9][-A-Za-z0-9._:/@]*$")]


QUANTITY_PATTERN = r"^([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[mkMGTPE]|[eE][0-9]{1,2})?$"


RelativePath = Annotated[
    str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^/].*$")
]  # the further rules (no `..`) are in rules.py


ClassName = Annotated[str, StringConstraints(min_length=1, max_length=63)]


SecretName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]


Quantity = Annotated[
    Annotated[str, StringConstraints(max_length=32, pattern=QUANTITY_PATTERN)] | Annotated[int, Field(ge=0)],
    Field(union_mode="left_to_right"),
]


StoreUri = Annotated[
    str,
    StringConstraints(max_length=1024, pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|pvc://[a-z0-9][-a-z0-9.]*)(/.*)?$"),
]


FilePath = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._:/@%+=,-]+$")]
"""What a file may be called that a program of NVIDIA's is told of: it puts its arguments into a shell's command line."""


SpecField = Annotated[str, StringConstraints(min_length=1, max_length=200)]  # its form is in rules.py


class SecretReference(Model):
    """A Secret in the run's own namespace."""

    name: SecretName = Field(description="Name of the Secret.")


class SecretKey(Model):
    """A key of a Secret in the run's own namespace."""

    name: SecretName = Field(description="Name of the Secret.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in the Secret."
    )


class ConfigMapKey(Model):
    """A key of a ConfigMap in the run's own namespace."""

    name: SecretName = Field(description="Name of the ConfigMap.")
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key in the ConfigMap."
    )
