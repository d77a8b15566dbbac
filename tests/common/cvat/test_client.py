"""One connection: patient with servers that restart, careful with credentials."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import responses
from structlog.testing import capture_logs
from urllib3.exceptions import NameResolutionError

from common.cvat import errors
from common.cvat.client import Client, connect
from common.exits import Exit, RunEnds
from common.waiting import Deadline, Stopped, StopSignal
from sandbox.cvat import Fault

BASE = "http://cvat.example.com"


def answers(settings_for, status=200, body="{}", **headers):
    """A client before a canned answer to every GET."""
    responses.add(responses.GET, f"{BASE}/api/x", body=body, status=status, headers=headers)
    return Client(settings_for(BASE, CVAT_SERVER_WAIT_SECONDS="0"), StopSignal())


@pytest.fixture
def web_server():
    """A tiny real server: a function of (method, path, headers) gives (status, headers, body)."""
    servers = []

    def start(answer, chunked=False):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _one(self):
                said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, body = answer(self.command, self.path, self.headers, said)
                self.send_response(status)
                length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
                for name, value in {**length, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _one  # noqa: N815

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_signing_in_tells_version_and_account_and_happens_once(sandbox, settings_for):
    server = sandbox()
    client, version, account = connect(settings_for(server), StopSignal())
    assert (version, account.username, account.is_superuser) == ("2.54.1", "admin", True)
    for _ in range(3):
        client.get("/api/projects")
    assert server.log_count("POST /api/auth/login") == 1
    assert server.log_count("POST /api/auth/logout") == 0


def test_a_read_only_token_needs_no_login(sandbox, settings_for):
    server = sandbox()
    client, _, account = connect(settings_for(server, CVAT_ACCESS_TOKEN=server.access_token), StopSignal())
    assert account.username == "admin"
    assert server.log_count("POST /api/auth/login") == 0
    assert client.get("/api/projects")["count"] == 0


def test_a_wrong_password_ends_the_run_with_12_naming_user_and_server_after_one_try(sandbox, settings_for):
    server = sandbox()
    with pytest.raises(errors.CredentialsRefused) as caught:
        connect(settings_for(server, CVAT_PASSWORD="wrong-Pass-9"), StopSignal())
    assert caught.value.exit_code == Exit.CREDENTIALS_REFUSED
    assert "'admin'" in str(caught.value) and server.url in str(caught.value)
    assert "Unable to log in" in str(caught.value) and "wrong-Pass-9" not in str(caught.value)
    assert server.log_count("POST /api/auth/login") == 1


def test_a_wrong_token_ends_the_run_with_12_after_two_tries(sandbox, settings_for, no_waiting):
    server = sandbox()
    with pytest.raises(errors.CredentialsRefused, match="refused the access token"):
        connect(settings_for(server, CVAT_ACCESS_TOKEN="12345678.nonsense"), StopSignal())
    assert server.log_count("GET /api/users/self") == 2


def test_a_single_401_does_not_condemn_a_token(sandbox, signed_in, no_waiting):
    server = sandbox()
    client = signed_in(server, CVAT_ACCESS_TOKEN=server.access_token)
    server.faults.add(Fault("GET /api/projects", "status", status=401))
    assert client.get("/api/projects")["count"] == 0
    assert server.log_count("POST /api/auth/login") == 0


def test_an_expired_key_is_renewed_once_for_all_threads(sandbox, signed_in):
    server = sandbox()
    client = signed_in(server)
    client._authorization = "Token " + "0" * 40
    threads = [threading.Thread(target=client.get, args=("/api/projects",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.log_count("POST /api/auth/login") == 2
    assert client.get("/api/projects")["count"] == 0


def test_a_server_that_refuses_also_the_new_key_ends_the_run(sandbox, signed_in):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("GET /api/projects", "status", status=401, times=None, body={"detail": "Invalid token."}))
    with pytest.raises(errors.CredentialsRefused, match="also after signing in again"):
        client.get("/api/projects")


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_restarting_server_is_waited_for(sandbox, signed_in, no_waiting, status):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("GET /api/projects", "status", status=status, times=3))
    assert client.get("/api/projects")["count"] == 0
    assert no_waiting == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("rst", [False, True])
def test_a_cut_connection_is_asked_again(sandbox, signed_in, no_waiting, rst):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("GET /api/projects", "cut", times=2, rst=rst))
    assert client.get("/api/projects")["count"] == 0


def test_a_server_that_stays_down_is_named(settings_for):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with pytest.raises(RunEnds, match=r"cannot be reached .*connection refused"):
        connect(settings_for(f"http://127.0.0.1:{port}", CVAT_SERVER_WAIT_SECONDS="0"), StopSignal())


def test_a_dead_server_is_waited_for_once_and_noticed_when_it_is_back(settings_for, monkeypatch):
    asked = []

    def refused(_adapter, _request, **options):
        asked.append(options["timeout"])
        raise requests.ConnectionError("Connection refused")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", refused)
    client = Client(settings_for(BASE, CVAT_SERVER_WAIT_SECONDS="0.6"), StopSignal())
    with capture_logs() as said:
        for _ in range(20):
            with pytest.raises(errors.Unreachable):
                client.get("/api/x", deadline=Deadline(0.7))
            time.sleep(0.01)
    assert [line["event"] for line in said] == ["server_unreachable"]
    told = f"CVAT at {BASE} cannot be reached (connection refused). Trying for 0.6 s; Ctrl+C stops."
    assert said[0]["sentence"] == told
    assert len(asked) <= 23
    assert (asked[0], asked[-1]) == ((10, 60), (5, 5))
    monkeypatch.undo()
    with responses.RequestsMock() as server:
        server.add(responses.GET, f"{BASE}/api/x", body="{}")
        assert client.get("/api/x") == {}
    assert not client._silence.is_too_long and client._timeout_seconds == 60


def test_a_question_that_is_never_answered_ends_although_others_are(sandbox, signed_in):
    server = sandbox()
    client = signed_in(server, CVAT_SERVER_WAIT_SECONDS="0.6")
    server.faults.add(Fault("GET /api/projects/1", "status", status=504, times=None))
    over = threading.Event()

    def others():
        while not over.wait(0.05):
            client.get("/api/projects")

    thread = threading.Thread(target=others)
    thread.start()
    try:
        with pytest.raises(errors.Unreachable, match="504"):
            client.get("/api/projects/1")
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize(("known_before", "longest"), [(False, 15), (True, 100)])
def test_a_name_that_was_never_known_is_not_waited_for_long(settings_for, monkeypatch, known_before, longest):
    client = Client(settings_for("http://no-such-host.invalid", CVAT_SERVER_WAIT_SECONDS="100"), StopSignal())
    if known_before:
        client._silence.end()
    now, pauses = [1000.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def nap(_stop, seconds):
        pauses.append(seconds)
        now[0] += seconds

    def unknown(*_, **__):
        reason = NameResolutionError("h", None, socket.gaierror("unknown"))
        raise requests.ConnectionError(reason)

    monkeypatch.setattr(StopSignal, "sleep", nap)
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", unknown)
    with pytest.raises(errors.Unreachable, match="is unknown") as caught:
        client.get("/api/x")
    assert "Check CVAT_URL" in caught.value.remedy
    assert longest / 2 <= sum(pauses) <= longest


def dripping(head: bytes, drop: bytes = b" "):
    """A server that answers each question with this head and then a drop each 0.05 s."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(connection,), daemon=True).start()

    def drip(connection):
        with connection:
            connection.recv(10_000)
            try:
                connection.sendall(head)
                for _ in range(200):
                    connection.sendall(drop)
                    time.sleep(0.05)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return listener


@pytest.mark.parametrize("ask", ["get", "_log_in", "error"])
def test_a_body_that_drips_is_not_read_for_ever(settings_for, monkeypatch, ask):
    status = b"404 Not Found" if ask == "error" else b"200 OK"
    with dripping(b"HTTP/1.1 " + status + b"\r\nContent-Length: 100000\r\n\r\n") as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = Client(settings_for(url, CVAT_SERVER_WAIT_SECONDS="0"), StopSignal())
        monkeypatch.setattr(Client, "_timeout_seconds", 0.3)
        began = time.monotonic()
        with pytest.raises(errors.NotFound if ask == "error" else errors.Unreachable, match=r"too slow|404"):
            client._log_in({}) if ask == "_log_in" else client.get("/api/x")
        assert time.monotonic() - began < 8  # the body would take ten


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_gzipped_answer_is_read_whole_over_one_connection(web_server, settings_for, chunked):
    told = {"x": ["what is said " * 10] * 20_000}
    packed, connections = gzip.compress(json.dumps(told).encode()), set()
    headers = {"Content-Encoding": "gzip"}
    if chunked:
        packed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)

    def answer(*_):
        connections.add(threading.get_ident())
        return 200, headers, packed

    client = Client(settings_for(web_server(answer, chunked=chunked)), StopSignal())
    assert [client.get("/api/x") == told for _ in range(3)] == [True] * 3
    assert len(connections) == 1


def test_https_to_a_port_without_tls_is_named(web_server, settings_for):
    url = web_server(lambda *_: (200, {}, b"")).replace("http:", "https:")
    with pytest.raises(RunEnds, match="does not speak TLS; use http://") as caught:
        Client(settings_for(url), StopSignal()).get("/api/x")
    assert "CA_BUNDLE" not in str(caught.value) + caught.value.remedy


@pytest.mark.parametrize(
    ("cause", "ends"),
    [(ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), errors.Unreachable),
     (ssl.SSLCertVerificationError(1, "self-signed certificate"), RunEnds)],
)  # fmt: skip
def test_a_handshake_that_is_cut_off_is_no_bad_certificate(settings_for, monkeypatch, cause, ends):
    def broken(*_, **__):
        raise requests.exceptions.SSLError(cause)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", broken)
    with pytest.raises(ends):
        Client(settings_for(BASE, CVAT_SERVER_WAIT_SECONDS="0"), StopSignal()).get("/api/x")


def test_waiting_for_a_server_can_be_stopped(settings_for):
    stop = StopSignal()
    threading.Timer(0.2, stop.set, (15,)).start()
    with pytest.raises(Stopped):
        connect(settings_for("http://127.0.0.1:9", CVAT_SERVER_WAIT_SECONDS="60"), stop)


def test_throttling_is_waited_out_as_long_as_the_server_asks(sandbox, signed_in, no_waiting):
    server = sandbox()
    client = signed_in(server)
    body = {"detail": "Request was throttled."}
    server.faults.add(
        Fault("GET /api/projects", "status", status=429, body=body, headers={"Retry-After": "7"}, times=2)
    )
    assert client.get("/api/projects")["count"] == 0
    assert no_waiting == [7.0, 7.0]


def test_throttling_without_a_pause_is_asked_ever_more_seldom_and_not_for_ever(sandbox, signed_in, no_waiting):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("GET /api/projects", "status", status=429, headers={"Retry-After": "0"}, times=None))
    with pytest.raises(errors.Throttled):
        client.get("/api/projects", deadline=Deadline(3))
    assert no_waiting == [0.5, 1, 2]


def test_throttling_beyond_the_items_deadline_is_a_failure(sandbox, signed_in, no_waiting):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("GET /api/projects", "status", status=429, headers={"Retry-After": "70"}, times=None))
    with pytest.raises(errors.Throttled):
        client.get("/api/projects", deadline=Deadline(30))
    assert no_waiting == []


def test_a_throttled_login_is_waited_out(sandbox, settings_for, no_waiting):
    server = sandbox()
    server.faults.add(Fault("POST /api/auth/login", "status", status=429, headers={"Retry-After": "3"}, times=1))
    connect(settings_for(server), StopSignal())
    assert no_waiting == [3.0]


@responses.activate
@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.Unauthorized), (403, errors.Forbidden), (404, errors.NotFound), (400, errors.Refused), (406, errors.Refused),
     (409, errors.Refused), (502, errors.Unreachable), (503, errors.Unreachable), (500, errors.ServerError),
     (507, errors.ServerError)],
)  # fmt: skip
def test_every_status_has_its_failure(settings_for, no_waiting, status, kind):
    client = answers(settings_for, status, '{"detail": "what CVAT says"}')
    with pytest.raises(kind, match=r"GET /api/x: CVAT answered .*what CVAT says"):
        client.get("/api/x")


@responses.activate
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_the_items_failure_and_sends_the_credentials_nowhere(settings_for, status):
    client = answers(settings_for, status, "", Location="https://elsewhere.example/")
    with pytest.raises(errors.Redirected, match=r"redirects GET /api/x to https://elsewhere\.example/") as caught:
        client.get("/api/x")
    assert "CVAT_URL" in caught.value.remedy
    assert len(responses.calls) == 1


@pytest.mark.parametrize("path", ["GET /api/server/about", "POST /api/auth/login", "GET /api/users/self"])
def test_a_redirect_while_signing_in_ends_the_run(sandbox, settings_for, path):
    server = sandbox()
    server.faults.add(Fault(path, "status", status=302, times=None, headers={"Location": "https://elsewhere.example/"}))
    with pytest.raises(RunEnds, match=r"redirects .* to https://elsewhere\.example/") as caught:
        connect(settings_for(server), StopSignal())
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION


@responses.activate
@pytest.mark.parametrize("wait", ["", "soon", "-5", "nan", "Fri, 20 Nov 2026 10:00:00 GMT"])
def test_a_mad_retry_after_is_no_crash_and_no_busy_loop(settings_for, no_waiting, wait):
    client = answers(settings_for, 429, "{}", **{"Retry-After": wait})
    with pytest.raises(errors.Throttled):
        client.get("/api/x", deadline=Deadline(0.05))
    assert all(0.1 <= pause <= 30 for pause in no_waiting)


def test_another_web_server_is_not_taken_for_a_cvat(web_server, settings_for, no_waiting):
    """Many answer every address with 200 and their start page."""
    url = web_server(lambda *_: (200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"))
    with pytest.raises(RunEnds, match="not like a CVAT server"):
        connect(settings_for(url), StopSignal())


PAGE = {"status": 200, "body": "<html><title>Sign in</title></html>", "headers": {"Content-Type": "text/html"}}


def test_a_page_in_place_of_an_answer_is_waited_for_like_a_server_error(sandbox, signed_in, no_waiting):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("GET /api/projects", "status", times=2, **PAGE))
    assert client.get("/api/projects")["count"] == 0
    assert no_waiting == [1, 2]
    server.faults.add(Fault("/api/projects", "status", times=None, **PAGE))
    with pytest.raises(errors.NotJson, match=r"GET /api/projects: a web page came .*Sign in") as caught:
        client.get("/api/projects")
    assert "sign-in proxy" in caught.value.remedy
    with pytest.raises(errors.OutcomeUnknown):
        client.change("POST", "/api/projects", {"name": "x"})


def test_a_page_from_the_first_question_on_is_told_at_once(web_server, settings_for, no_waiting):
    url = web_server(lambda *_: (200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"))
    with pytest.raises(RunEnds, match="not like a CVAT server"):
        connect(settings_for(url), StopSignal())
    assert no_waiting == []


def test_an_empty_answer_is_no_page_whatever_its_type(sandbox, signed_in, no_waiting):
    server = sandbox()
    client = signed_in(server)
    server.faults.add(Fault("POST /api/x", "status", status=202, body="", headers={"Content-Type": "text/html"}))
    assert client.change("POST", "/api/x").status_code == 202


@pytest.mark.parametrize("who", [[], {}, None, {"id": None, "username": "a"}, {"id": 1}])
def test_a_server_that_does_not_say_who_we_are_is_not_taken_for_a_cvat(sandbox, settings_for, who):
    server = sandbox()
    server.faults.add(Fault("GET /api/users/self", "status", status=200, body=who, times=None))
    with pytest.raises(RunEnds, match="does not say who we are"):
        connect(settings_for(server), StopSignal())


@pytest.mark.parametrize("body", [b"{}", b"[]", b"5", b'"x"', b"null"])
def test_another_api_is_not_taken_for_a_cvat(web_server, settings_for, body):
    url = web_server(lambda *_: (200, {"Content-Type": "application/json"}, body))
    with pytest.raises(RunEnds, match="not like a CVAT server"):
        connect(settings_for(url), StopSignal())


@pytest.mark.parametrize("status", [401, 403])
def test_a_proxy_with_a_login_of_its_own_is_named_before_ours_is_tried(web_server, settings_for, status):
    url = web_server(lambda *_: (status, {}, b"proxy says no"))
    with pytest.raises(RunEnds, match="proxy says no"):
        connect(settings_for(url), StopSignal())


@pytest.mark.parametrize("status", [401, 403])
def test_a_login_that_is_refused_with_another_status_is_a_refusal_too(sandbox, settings_for, status):
    server = sandbox()
    server.faults.add(Fault("POST /api/auth/login", "status", status=status, body={"detail": "inactive"}, times=None))
    with pytest.raises(errors.CredentialsRefused, match="inactive"):
        connect(settings_for(server), StopSignal())


def test_a_netrc_and_cookies_are_not_used(web_server, settings_for, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("default login netrc-user password netrc-pass\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    seen = []

    def answer(method, path, headers, _body):
        seen.append((method, path, headers.get("Authorization"), headers.get("Cookie")))
        bodies = {
            "/api/server/about": {"version": "2.54.1"},
            "/api/auth/login": {"key": "k" * 40},
            "/api/users/self": {"id": 1, "username": "admin"},
        }
        return 200, {"Set-Cookie": "sessionid=abc; Path=/"}, json.dumps(bodies[path]).encode()

    connect(settings_for(web_server(answer)), StopSignal())
    assert [authorization for _, _, authorization, _ in seen] == [None, None, "Token " + "k" * 40]
    assert {cookie for _, _, _, cookie in seen} == {None}


@pytest.mark.parametrize(("setting", "header"), [("", None), ("@personal", ""), ("alpha-lab", "alpha-lab")])
def test_the_organization_header_follows_the_setting(settings_for, setting, header):
    client = Client(settings_for(BASE, CVAT_ORGANIZATION=setting), StopSignal())
    assert client._organization_header().get("X-Organization") == header


def test_an_unknown_organization_ends_the_run_naming_the_setting(sandbox, settings_for):
    client, _, _ = connect(settings_for(sandbox(), CVAT_ORGANIZATION="nosuch"), StopSignal())
    with pytest.raises(RunEnds, match="'nosuch' \\(CVAT_ORGANIZATION\\)") as caught:
        client.get("/api/projects")
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION


def test_a_login_by_email_is_tried_as_one(sandbox, settings_for):
    server = sandbox()
    user = server.world.add_user("carol", "carol-Pass-1")
    user.email = "carol@example.com"
    _, _, account = connect(
        settings_for(server, CVAT_USERNAME="carol@example.com", CVAT_PASSWORD="carol-Pass-1"), StopSignal()
    )
    assert account.username == "carol"
