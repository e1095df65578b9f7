"""What users hold of an image."""

import json
from dataclasses import asdict

from lxsandbox import Image, SandboxSpec
from lxsandbox.image import Healthcheck


def test_an_image_is_the_same_after_its_way_through_json() -> None:
    image = Image(
        reference="docker.io/library/postgres:17",
        digest=f"sha256:{'0' * 64}",
        command=("postgres",),
        env={"PGDATA": "/data"},
        ports=("5432/tcp",),
        healthcheck=Healthcheck(test=("CMD", "pg_isready"), retries=5),
        labels={"a": "b"},
    )
    assert Image.from_json(json.loads(json.dumps(asdict(image)))) == image
    assert Image.from_json(json.loads(json.dumps(asdict(Image(reference="host"))))) == Image(reference="host")


def test_a_spec_takes_an_image_for_its_reference() -> None:
    assert SandboxSpec(image=Image(reference="app:1")).image == "app:1"  # type: ignore[arg-type]
