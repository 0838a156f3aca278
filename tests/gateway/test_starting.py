"""How it starts and ends: the operator's key, what is configured wrongly, who may read the numbers, what it logs."""

from __future__ import annotations

import json
import re
import signal
import socket

import pytest

from cli_running import prepaid
from gateway.running import Gateway
from pages import read, rows

METRICS = "/metrics"


def shown_key(gateway):
    return re.search(r"shown this once: (pp_\S+)\n", gateway.stdout)[1]


@pytest.mark.slow
class TestOperatorKey:
    def test_it_is_shown_at_the_first_start_only(self, tmp_path):
        gateway = Gateway(tmp_path)
        with gateway:
            key = shown_key(gateway)
            headers = {"authorization": f"Bearer {key}"}
            assert gateway.get(METRICS, headers=headers).status_code == 200
        with gateway:
            assert gateway.stdout.count("shown this once") == 1
            assert gateway.get(METRICS, headers=headers).status_code == 200
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("test.db*"))
        assert key.encode() not in kept
        assert key not in gateway.log

    def test_who_made_one_before_is_shown_none(self, tmp_path):
        made = json.loads(prepaid(tmp_path, "key", "create", "--json").stdout)
        with Gateway(tmp_path) as gateway:
            assert gateway.stdout == ""
            assert (
                gateway.get(METRICS, headers={"authorization": f"Bearer {made['api_key']}"}).status_code
                == 200
            )


class TestMetrics:
    def test_they_are_the_operators(self, gateway):
        assert gateway.get(METRICS).status_code == 401
        assert gateway.get(METRICS, headers={"authorization": "Bearer pp_x_y"}).status_code == 401
        _, key = gateway.fund("1 USD")
        assert gateway.get(METRICS, headers={"authorization": f"Bearer {key}"}).status_code == 403

    @pytest.mark.slow
    @pytest.mark.parametrize(("readers", "status"), [("loopback", 200), ("nobody", 404)])
    def test_or_whoevers_the_operator_says(self, tmp_path, readers, status):
        with Gateway(tmp_path, f'[gateway]\nmetrics = "{readers}"\n') as gateway:
            assert gateway.get(METRICS).status_code == status

    def test_they_are_prometheus_text(self, gateway):
        gateway.get("/nothing")
        headers = {"authorization": f"Bearer {shown_key(gateway)}"}
        reply = gateway.get(METRICS, headers=headers)
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'prepaid_http_requests_total{method="GET",route="(none)",status="404"}' in reply.text
        assert "prepaid_store_queue 0.0" in reply.text

    def test_the_page_has_all_of_them(self, gateway):
        text = gateway.get(METRICS, headers={"authorization": f"Bearer {shown_key(gateway)}"}).text
        listed = [cells[0].strip("`") for cells in rows(read("docs/gateway.md"), "## Watching it")]
        assert sorted(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) == sorted(listed)


class TestConfiguration:
    """What is wrong is said before anything listens."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("toml", "said"),
        [
            ("[gateway]\nport = 70000\n", "prepaid.toml line 2: gateway.port is 70000: "),
            ("[gateway]\nworker = 2\n", "Did you mean workers?"),
            ('[gateway]\n\nmetrics = "all"\n', "prepaid.toml line 3: gateway.metrics is 'all'"),
            ('[telemetry]\nendpoint = "collector:4318"\n', "prepaid.toml line 2: telemetry.endpoint"),
        ],
    )
    def test_with_the_line(self, tmp_path, toml, said):
        (tmp_path / "prepaid.toml").write_text(toml, encoding="utf-8")
        done = prepaid(tmp_path, "serve")
        assert done.returncode == 1
        assert said in done.stderr
        assert not (tmp_path / "test.db").exists()

    @pytest.mark.slow
    def test_an_address_that_is_taken(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = prepaid(tmp_path, "serve", "--port", str(port))
        assert done.returncode == 1
        assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use." in done.stderr

    @pytest.mark.slow
    def test_a_database_that_is_none(self, tmp_path):
        (tmp_path / "test.db").write_text("not a database, and longer than a header of one would be" * 20)
        done = prepaid(tmp_path, "serve", "--port", "0")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr

    @pytest.mark.slow
    def test_another_file_can_be_named(self, tmp_path):
        """And whoever may be told the numbers."""
        (tmp_path / "other.toml").write_text('database = "other.db"\n', encoding="utf-8")
        with Gateway(tmp_path, config="other.toml", PREPAID_GATEWAY__METRICS="anyone") as gateway:
            assert gateway.get(METRICS).status_code == 200


@pytest.mark.slow
class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_ends_when_it_is_told_to(self, tmp_path, number):
        with Gateway(tmp_path) as gateway:
            gateway.process.send_signal(number)
            gateway.process.wait(120)
            assert gateway.records()[-1]["message"] == "stopped"
            assert "Traceback" not in gateway.log

    def test_what_is_on_its_way_is_answered(self, tmp_path):
        """Half of a head has arrived, or the connection was just opened: nobody else can answer these."""
        request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        with Gateway(tmp_path, '[gateway]\nmetrics = "anyone"\n') as gateway:
            address = ("127.0.0.1", gateway.port)
            with socket.create_connection(address) as half, socket.create_connection(address) as new:
                half.sendall(request[:20])
                gateway.wait_until(lambda: "connections 3.0" in gateway.get("/metrics").text)
                gateway.process.send_signal(signal.SIGTERM)
                gateway.wait_until(lambda: _refuses(address))
                new.sendall(request)
                half.sendall(request[20:])
                for each in (new, half):
                    each.settimeout(120)
                    assert each.recv(1_000).startswith(b"HTTP/1.1 200 ")
                    assert each.recv(1_000) in (b'{"status":"ok"}', b"")
            assert gateway.process.wait(120) == -signal.SIGTERM


class TestAccessLog:
    def test_a_line_says_what_was_asked_but_not_the_query(self, gateway):
        gateway.get(
            "/healthz?prompt=secret", headers={"x-request-id": "asked-1", "authorization": "Bearer pp_secret"}
        )
        (line,) = gateway.wait_until(lambda: _lines(gateway, "asked-1"))
        assert (line["method"], line["route"], line["status"]) == ("GET", "/healthz", 200)
        assert line["logger"] == "prepaid.access"
        assert line["client"] == "127.0.0.1"
        assert 0 < line["seconds"] < 120
        assert "secret" not in gateway.log

    def test_a_path_that_matches_nothing_is_not_told(self, gateway):
        gateway.get("/my/secret", headers={"x-request-id": "asked-2"})
        (line,) = gateway.wait_until(lambda: _lines(gateway, "asked-2"))
        assert (line["route"], line["status"]) == ("", 404)

    @pytest.mark.slow
    def test_there_is_none_where_less_is_wanted(self, tmp_path):
        with Gateway(tmp_path, '[gateway]\nlog_level = "warning"\n') as gateway:
            gateway.get("/healthz")
        assert gateway.log == ""


def _lines(gateway, request_id):
    return [record for record in gateway.records() if record.get("request_id") == request_id]


def _refuses(address):
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False
