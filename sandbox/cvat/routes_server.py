"""Addresses of the server itself and of its people."""

from __future__ import annotations

import json
import secrets
from typing import Any

from sandbox.cvat.datasets import formats
from sandbox.cvat.http import FORBIDDEN, Response, detail, json_response, refuse, text_response
from sandbox.cvat.routes import Call, Router, required
from sandbox.cvat.world import NoSuchObject

routes = Router()


def health(call: Call) -> Response:
    """django-health-check's page: not an API endpoint, so it knows no vnd.cvat+json."""
    accept = call.request.headers.get("accept", "*/*")
    wants_json = call.query.get("format") == "json" or "application/json" in accept
    if not wants_json and "text/html" not in accept and "*/*" not in accept:
        return text_response("Not Acceptable: Supported content types: text/html, application/json", 406, "text/plain")
    status = 200 if all(state == "working" for state in call.world.health.values()) else 500
    no_store = ("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private")
    if wants_json:
        content = json.dumps(call.world.health).encode()
        return Response(status, [("Content-Type", "application/json"), no_store], content)
    rows = "".join(f"<tr><td>{name}</td><td>{state}</td></tr>" for name, state in call.world.health.items())
    return text_response(f"<!DOCTYPE html>\n<html><body><table>{rows}</table></body></html>\n", status)


@routes.add("GET", "/api/server/about", anonymous=True)
def about(call: Call) -> Any:
    return call.answers.about()


@routes.add("GET", "/api/server/annotation/formats")
def annotation_formats(call: Call) -> Any:
    return formats()


@routes.add("GET", "/api/server/plugins")
def plugins(call: Call) -> Any:
    return {"GIT_INTEGRATION": False, "ANALYTICS": False, "MODELS": False, "PREDICT": False}


@routes.add("POST", "/api/auth/login", anonymous=True)
def login(call: Call) -> Response:
    if call.identity is not None:
        call.server.doorman.throttle(call.request)  # a sign-in counts as anonymous whoever asks
    raw = call.request.json()
    name = raw.get("username") or raw.get("email") or ""
    user = call.server.doorman.check_password(str(name), str(raw.get("password", "")))
    if user is None:
        raise refuse(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
    cookies = call.server.doorman.sign_in(user)
    return json_response({"key": user.key}, headers=cookies)


@routes.add("POST", "/api/auth/logout", anonymous=True)
def logout(call: Call) -> Any:
    if call.identity is not None:
        call.server.doorman.sign_out(call.request, call.identity)
    return {"detail": "Successfully logged out."}


@routes.add("GET", "/api/auth/access_tokens")
def list_tokens(call: Call) -> Response:
    own = [token for token in call.world.access_tokens.values() if token.user_id == call.user.id]
    return call.page(own, call.answers.access_token, {"id": lambda t: t.id, "name": lambda t: t.name})


@routes.add("POST", "/api/auth/access_tokens")
def make_token(call: Call) -> Response:
    assert call.identity is not None
    if call.identity.by == "access token":
        raise detail(403, FORBIDDEN)
    raw = call.request.json()
    required(raw, "name")
    token = call.world.add_access_token(
        call.user,
        str(raw["name"]),
        read_only=bool(raw.get("read_only")),
        expiry_date=raw.get("expiry_date"),
    )
    return json_response({**call.answers.access_token(token), "value": token.value}, 201)


@routes.add("DELETE", "/api/auth/access_tokens/{id}")
def drop_token(call: Call, token_id: str) -> Response:
    token = call.world.access_tokens.get(int(token_id))
    if token is None or token.user_id != call.user.id:
        raise NoSuchObject("AccessToken")
    del call.world.access_tokens[token.id]
    return Response(204)


# --- users and organizations --------------------------------------------------------------------------------


@routes.add("GET", "/api/users/self")
def self_(call: Call) -> Any:
    return call.answers.user(call.user)


@routes.add("GET", "/api/users")
def list_users(call: Call) -> Response:
    world = call.world
    users = list(world.users.values())
    asked, org = call.org()
    if asked and org is not None:
        members = {m.user_id for m in world.memberships.values() if m.organization_id == org.id}
        users = [user for user in users if user.id in members]
    if not call.user.is_superuser:
        users = [user for user in users if user.id == call.user.id]
    terms = {
        "id": lambda u: u.id,
        "username": lambda u: u.username,
        "first_name": lambda u: u.first_name,
        "last_name": lambda u: u.last_name,
        "is_active": lambda u: u.is_active,
    }
    search = (lambda u: u.username, lambda u: u.first_name, lambda u: u.last_name)
    exact = ("id", "username", "first_name", "last_name", "is_active")
    return call.page(users, call.answers.user, terms, search, exact)


@routes.add("GET", "/api/users/{id}")
def one_user(call: Call, user_id: str) -> Any:
    user = call.world.users.get(int(user_id))
    if user is None or not (call.user.is_superuser or call.user.id == user.id):
        raise NoSuchObject("User")
    return call.answers.user(user)


@routes.add("GET", "/api/organizations")
def list_orgs(call: Call) -> Response:
    world = call.world
    orgs = [
        org
        for org in world.organizations.values()
        if call.user.is_superuser or world.role_in(call.user, org.id) is not None
    ]
    terms = {"id": lambda o: o.id, "slug": lambda o: o.slug, "name": lambda o: o.name}
    search = (lambda o: o.slug, lambda o: o.name)
    return call.page(orgs, call.answers.organization, terms, search, ("slug", "name"))


@routes.add("POST", "/api/organizations")
def make_org(call: Call) -> Response:
    raw = call.request.json()
    required(raw, "slug")
    org = call.world.add_org(
        raw["slug"], raw.get("name"), call.user, raw.get("description") or "", contact=raw.get("contact")
    )
    return json_response(call.answers.organization(org), 201)


@routes.add("GET", "/api/organizations/{id}")
def one_org(call: Call, org_id: str) -> Any:
    org = call.world.organizations.get(int(org_id))
    if org is None:
        raise NoSuchObject("Organization")
    if not call.user.is_superuser and call.world.role_in(call.user, org.id) is None:
        raise detail(403, FORBIDDEN)
    return call.answers.organization(org)


@routes.add("PATCH", "/api/organizations/{id}")
def patch_org(call: Call, org_id: str) -> Any:
    org = call.world.organizations.get(int(org_id))
    if org is None:
        raise NoSuchObject("Organization")
    raw = call.request.json()
    for name in ("name", "description", "contact"):  # owner is ignored with 200
        if name in raw:
            setattr(org, name, raw[name])
    org.updated_date = call.world.now()
    return call.answers.organization(org)


@routes.add("GET", "/api/memberships")
def list_memberships(call: Call) -> Response:
    world = call.world
    rows = [m for m in world.memberships.values() if _shows_members(call, m.organization_id)]
    terms = {
        "id": lambda m: m.id,
        "role": lambda m: m.role,
        "user": lambda m: world.users[m.user_id].username,
    }
    return call.page(rows, call.answers.membership, terms, exact=("role", "user"))


@routes.add("PATCH", "/api/memberships/{id}")
def patch_membership(call: Call, membership_id: str) -> Any:
    membership = call.world.memberships.get(int(membership_id))
    if membership is None:
        raise NoSuchObject("Membership")
    membership.role = str(call.request.json().get("role", membership.role))
    return call.answers.membership(membership)


@routes.add("GET", "/api/invitations")
def list_invitations(call: Call) -> Response:
    rows = [
        m
        for m in call.world.memberships.values()
        if m.invitation is not None and _shows_members(call, m.organization_id)
    ]
    return call.page(rows, call.answers.invitation, {"id": lambda m: m.id})


@routes.add("POST", "/api/invitations")
def invite(call: Call) -> Response:
    _, org = call.org()
    raw = call.request.json()
    required(raw, "email", "role")
    if org is None:
        raise detail(403, FORBIDDEN)
    try:
        user = call.world.user_named(raw["email"])
    except NoSuchObject:
        return json_response("Email backend is not configured.", 500)
    membership = call.world.add_member(org, user, raw["role"], invitation=secrets.token_urlsafe(48))
    return json_response(call.answers.invitation(membership), 201)


def _shows_members(call: Call, organization_id: int) -> bool:
    asked, org = call.org()
    if asked and (org is None or org.id != organization_id):
        return False
    return call.user.is_superuser or call.world.role_in(call.user, organization_id) is not None
