"""What docs/monitoring.md tells people to write can be written, and asks for metrics that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.needs import needs
from tests.peers import debian
from zegel.core.policy.alarms import Condition, Severity
from zegel.edge.metrics import METRICS, Kind
from zegel.settings import load

PAGE: Final = Path("docs/monitoring.md").read_text()
_SHOWN: Final = {
    name + end
    for name, metric in METRICS.items()
    for end in (("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",))
}


def block(kind: str, holds: str) -> str:
    return next(str(one) for one in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) if holds in one)


RULES: Final[list[dict[str, Any]]] = yaml.safe_load(block("yaml", "groups:"))["groups"][0]["rules"]


@pytest.mark.parametrize(
    "expression", [*(rule["expr"] for rule in RULES), *re.findall(r"\| `([^`]*zegel_[^`]*)`", PAGE)]
)
def test_an_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    for name, asked in re.findall(r"(zegel_\w+)(?:\{([^}]*)\})?", expression):
        assert name in _SHOWN, name
        metric = METRICS.get(name) or METRICS[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert set(re.findall(r"(\w+)=", asked)) <= {*metric.labels, "le"}
    for value in re.findall(r'severity="(\w+)"', expression):
        assert value in {one.value for one in Severity}
    for label in re.findall(r"by \((\w+)\)", expression):
        assert any(label in (*metric.labels, "le") for metric in METRICS.values())


def test_both_severities_have_a_rule() -> None:
    said = " ".join(rule["expr"] for rule in RULES)
    assert all(f'severity="{one.severity.value}"' in said for one in Condition)


def test_the_setting_is_one(tmp_path: Path) -> None:
    path = tmp_path / "zegel.toml"
    path.write_text(block("toml", "[metrics]"))
    assert load(path).metrics.listen is not None
    scrape = yaml.safe_load(block("yaml", "scrape_configs:"))["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == [str(load(path).metrics.listen)]


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    needs("prometheus")
    root = debian.unpacked("prometheus")
    assert root is not None
    path = tmp_path / "rules.yml"
    path.write_text(block("yaml", "groups:"))
    done = subprocess.run(
        [root / "usr/bin/promtool", "check", "rules", path],
        env={"LD_LIBRARY_PATH": debian.library_path(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout
