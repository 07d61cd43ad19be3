"""docs/deployment.md can be used: what it shows is read by what would use it, as far as that is installed."""

import os
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api.settings import Settings
from tests.api.running import running
from tests.paths import HANGS_S, ROOT

PAGE = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
SERVICE = (ROOT / "docs/service.md").read_text(encoding="utf-8")
METRICS = set(re.findall(r"^\| `(fairlead_\w+)` \|", SERVICE, flags=re.MULTILINE))
PATHS = {"/livez", "/readyz"}


def block(language: str) -> str:
    (only,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    return str(only)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, check=False)


def test_every_variable_it_sets_is_a_setting() -> None:
    names = {name.lower() for name in re.findall(r"\bFAIRLEAD_([A-Z_]+)", PAGE)}
    assert {"database_url", "text_key_file", "state_dir", "host"} <= names <= Settings.model_fields.keys()


def test_the_container_runs_the_command_as_nobody_in_particular() -> None:
    lines = block("dockerfile").replace("\\\n", " ").splitlines()
    instructions = [line.split()[0] for line in lines]
    assert instructions[0] == "FROM" and instructions.index("USER") > instructions.index("RUN")
    assert lines[-2:] == ['ENTRYPOINT ["fairlead"]', 'CMD ["serve"]']


def test_services_of_compose_refer_to_what_is_declared() -> None:
    compose = yaml.safe_load(block("yaml compose"))
    services: dict[str, Any] = compose["services"]
    for service in services.values():
        assert set(service["secrets"]) <= compose["secrets"].keys()
        assert set(service.get("depends_on", ())) <= services.keys()
    assert services["database"]["healthcheck"], "the service waits for it"
    for volume in services["database"]["volumes"]:
        assert volume.partition(":")[0] in compose["volumes"]
    assert services["fairlead"]["ports"] == ["127.0.0.1:8300:8300"], "TLS stands in front of it"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "fairlead.service"
    text = block("ini systemd").replace("/opt/fairlead/bin/fairlead", "/bin/true")
    unit.write_text(text.replace("User=fairlead", f"User={os.getuid()}"), encoding="utf-8")
    done = run("systemd-analyze", "verify", unit)
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if "fairlead.service" in line]
    assert not complaints


def test_kubernetes_asks_the_addresses_of_health() -> None:
    deployment, service = yaml.safe_load_all(block("yaml kubernetes"))
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    (container,) = template["spec"]["containers"]
    probes = {name: container[name]["httpGet"] for name in container if name.endswith("Probe")}
    assert {probe["path"] for probe in probes.values()} == PATHS
    assert probes["livenessProbe"]["path"] == "/livez", "a rebuild is no reason to restart"
    ports = {port["name"] for port in container["ports"]}
    assert {probe["port"] for probe in probes.values()} | {service["spec"]["ports"][0]["targetPort"]} == ports
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    certify = (
        "openssl",
        "req",
        "-x509",
        "-nodes",
        "-newkey",
        "rsa:2048",
        "-subj",
        "/CN=fairlead.example.org",
    )
    assert run(*certify, "-keyout", key, "-out", certificate).returncode == 0
    server = block("nginx").replace("/etc/ssl/certs/fairlead.pem", str(certificate))
    server = server.replace("/etc/ssl/private/fairlead.key", str(key))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    server += "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    logs = "error_log stderr;\naccess_log off;\n"
    whole = f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{logs}{server}}}\n"
    (tmp_path / "nginx.conf").write_text(whole, encoding="utf-8")
    done = run("nginx", "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf")
    assert done.returncode == 0, done.stderr


def test_alerts_name_metrics_of_the_service() -> None:
    (group,) = yaml.safe_load(block("yaml alerts"))["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names)
    watched: set[str] = set()
    for rule in group["rules"]:
        assert rule.keys() <= {"alert", "expr", "for"}
        watched |= set(re.findall(r"fairlead_\w+", rule["expr"]))
    assert watched <= METRICS
    wanted = set(re.findall(r"^\| `(fairlead_\w+)` \| .*Alert on", SERVICE, flags=re.MULTILINE))
    assert wanted <= watched, wanted - watched
    if shutil.which("promtool"):
        done = subprocess.run(
            ["promtool", "check", "rules", "/dev/stdin"], input=block("yaml alerts"), text=True, check=False
        )
        assert done.returncode == 0


def test_a_copy_made_while_it_serves_can_be_restored(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with running(tmp_path) as service:
        before = service.decide(id="before")
        reader = sqlite3.connect(f"file:{tmp_path}/log.db?mode=ro", uri=True)
        reader.execute("VACUUM INTO ?", [str(copy)])
        reader.close()
        service.decide(id="after")
    for path in tmp_path.glob("log.db-*"):
        path.unlink()
    copy.replace(tmp_path / "log.db")
    shutil.rmtree(tmp_path / "state")
    with running(tmp_path) as service:
        assert service.get("/v1/decisions/before")["decision"] == before
        assert service.client.get("/v1/decisions/after").status_code == 404
        service.decide(id="after")
