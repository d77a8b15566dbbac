"""What differs between the generations of the server, in one table.

Where a row is not backed by recorded traffic (all of 1.x and 2.x) it follows the server's published source and OpenAPI
documents; what nobody wrote down is marked "not recorded" where it is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Generation:
    name: str
    version: str  # product-version
    api: str  # what every address of the API begins with
    organizations: bool = False
    normalised: bool = False  # coordinates 0..1 instead of pixels
    reencodes: bool = False  # every image is stored as JPEG
    several_datasets: bool = True
    media_query: bool = False
    max_scenes: int | None = None  # of one answer with a video's annotations
    archives: bool = False
    component_configuration: bool = True
    project_configuration: bool = False
    empty_object: str = "No object"

    @property
    def numbers(self) -> tuple[int, int]:
        major, minor = self.version.split(".")[:2]
        return int(major), int(minor)


TABLE = {
    "1.1": Generation(
        name="1.1",
        version="1.1.0-latest-20220405093904",
        api="/api/v1.0/",
        normalised=True,
        reencodes=True,
        several_datasets=False,
        empty_object="No Object",
    ),
    "1.x": Generation(name="1.x", version="1.8.0-release-20231018120000", api="/api/v1/"),
    "2.x": Generation(
        name="2.x",
        version="2.13.0-release-20251104120000",
        api="/api/v1/",
        organizations=True,
        media_query=True,
        max_scenes=500,
        archives=True,
        project_configuration=True,
    ),
    "3.x": Generation(name="3.x", version="3.1.0", api="/api/", media_query=False),
}


def generation_named(name: str, version: str | None = None) -> Generation:
    """The generation, or one of its older or newer releases. Up to 2.11 there is no project_configuration."""
    if name not in TABLE:
        raise ValueError(f"no such generation: {name} (there are {', '.join(TABLE)})")
    generation = TABLE[name]
    if version is None:
        return generation
    generation = replace(generation, version=version)
    if name == "2.x":
        return replace(generation, project_configuration=generation.numbers >= (2, 12))
    return generation
