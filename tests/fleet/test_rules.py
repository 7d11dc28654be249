"""Prometheus' own tool reads the alert rules and the expressions of the dashboard."""

import json
import shutil
import subprocess
from pathlib import Path

SHARE = Path(__file__).resolve().parents[2] / "nettop" / "share"
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$unit": ".*", "$comm": ".*"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_alerts_fire_when_they_should(tools: Path, tmp_path: Path) -> None:
    for file in (SHARE / "alerts.yml", Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(file, tmp_path)
    assert "12 rules found" in run(tools / "promtool", "check", "rules", "alerts.yml", cwd=tmp_path)
    assert "SUCCESS" in run(tools / "promtool", "test", "rules", "alerts_test.yml", cwd=tmp_path)


def test_the_dashboards_expressions_are_queries(tools: Path, tmp_path: Path) -> None:
    expressions: list[dict[str, str]] = []
    for panel in json.loads((SHARE / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            expressions.append({"record": f"panel:{len(expressions)}", "expr": expression})
    rules = {"groups": [{"name": "dashboard", "rules": expressions}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))  # YAML includes JSON
    found = run(tools / "promtool", "check", "rules", "rules.yml", cwd=tmp_path)
    assert f"{len(expressions)} rules found" in found
