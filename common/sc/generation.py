"""Which generation of server answers, told by how it answers; version numbers were used twice and say little."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Era = Literal["SC", "Geti 1", "Geti 2"]


@dataclass(frozen=True)
class Generation:
    """How a server of this kind is spoken to.

    `api` is the path before workspaces ("/api/v1.0", "/api/v1/organizations/<id>"); `normalised`: coordinates are
    fractions of the image (0 to 1), else pixels; `queries`: media are listed by POST media:query with pages of up to
    1,000, else by GET with top and next_page.
    """

    era: Era
    version: str
    api: str
    normalised: bool
    paged_projects: bool
    queries: bool
    keeps_bytes: bool

    @property
    def has_archives(self) -> bool:
        """Whether the server exports and imports whole projects itself."""
        return self.era == "Geti 2"

    @property
    def name(self) -> str:
        return f"{self.era} ({self.version})" if self.version else self.era

    @property
    def number(self) -> tuple[int, int]:
        """The version as (2, 12); (0, 0) when it says nothing."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def tell_generation(
    product: Any, projects: Any, api: str, *, in_organization: bool, answers_query: bool
) -> Generation | None:
    """The generation from a server's answers: product_info, the list of projects; None when it is none that we know.

    `api` is the path under which they were asked. SC answers {"items": [...]}, Geti {"projects": [...]}.
    """
    version = str(product.get("product-version", "")) if isinstance(product, dict) else ""
    if isinstance(projects, dict) and isinstance(projects.get("items"), list):
        return Generation("SC", version, api, True, False, False, False)
    if isinstance(projects, dict) and isinstance(projects.get("projects"), list):
        era: Era = "Geti 2" if answers_query else "Geti 1"
        # Up to Geti 1.8 the list is whole; limit and skip are ignored there, and the count tells.
        return Generation(era, version, api, False, in_organization, answers_query, True)
    return None


def is_geti_3(projects: Any, health: Any) -> bool:
    """Whether what answers at /api/projects is Geti 3.x: a bare list, without workspaces or signing in."""
    return isinstance(projects, list) or (isinstance(health, dict) and str(health.get("version", "")).startswith("3."))


def organization_of(answer: Any) -> str | None:
    """The organization in an answer of personal_access_tokens/organization or profile; of several the oldest."""
    if not isinstance(answer, dict):
        return None
    single = answer.get("organizationId") or answer.get("organization_id")
    if isinstance(single, str) and single:
        return single
    found = [each for each in answer.get("organizations") or [] if isinstance(each, dict)]
    found.sort(key=lambda each: str(each.get("organizationCreatedAt") or each.get("createdAt") or ""))
    for each in found:
        identity = each.get("organizationId") or each.get("id")
        if isinstance(identity, str) and identity:
            return identity
    return None


def workspaces_of(answer: Any) -> list[dict[str, Any]]:
    """The workspaces of an answer: a bare list (SC) or {"workspaces": [...]} (Geti)."""
    found = answer.get("workspaces") if isinstance(answer, dict) else answer
    return [each for each in found or [] if isinstance(each, dict) and each.get("id")]
