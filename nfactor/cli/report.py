"""The replay report (DESIGN section 13): flow rows kept on disk, and JSON written row by row.

A replay may see more flows than fit in memory, so rows go into a temporary SQLite database as they come and out of it
in order of their first packets. Rows of one 5-tuple that came back after it had expired are added up here.
"""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any, TextIO

from nfactor.cluster.replay import Outcome
from nfactor.functions.monitor import FlowRow
from nfactor.packet.flow_key import FlowKey

_CREATE = """
CREATE TABLE flows (
  key BLOB PRIMARY KEY, initiator INTEGER, first INTEGER,
  packets_0 INTEGER, packets_1 INTEGER, octets_0 INTEGER, octets_1 INTEGER, runtime TEXT
) WITHOUT ROWID
"""
_ADD = """
INSERT INTO flows VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  initiator = CASE WHEN excluded.first < first THEN excluded.initiator ELSE initiator END,
  runtime = CASE WHEN excluded.first < first THEN runtime ELSE excluded.runtime END,
  first = min(first, excluded.first),
  packets_0 = packets_0 + excluded.packets_0, packets_1 = packets_1 + excluded.packets_1,
  octets_0 = octets_0 + excluded.octets_0, octets_1 = octets_1 + excluded.octets_1
"""


class FlowRows:
    """Flow rows by key. Packets and octets are stored by direction of the key, so that rows can be added up."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a private file, in memory until it grows, gone when closed
        self._database.execute(_CREATE)

    def add(self, row: FlowRow, runtime: str) -> None:
        """One row as a monitor emitted it."""
        packets, octets = (row.packets_ab, row.packets_ba), (row.octets_ab, row.octets_ba)
        if row.initiator:
            packets, octets = packets[::-1], octets[::-1]
        self._database.execute(
            _ADD, (row.key.ljust(48, b"\0"), row.initiator, row.first_mark, *packets, *octets, runtime)
        )

    def __len__(self) -> int:
        count: int = self._database.execute("SELECT count(*) FROM flows").fetchone()[0]
        return count

    def rows(self) -> Iterator[dict[str, Any]]:
        """Report rows, in order of their first packets; ``a`` is the sender of the first packet."""
        for key, initiator, _, packets_0, packets_1, octets_0, octets_1, runtime in self._database.execute(
            "SELECT * FROM flows ORDER BY first, key"
        ):
            flow = FlowKey.decode(key)
            ends = [(flow.a, flow.a_port, packets_0, octets_0), (flow.b, flow.b_port, packets_1, octets_1)]
            (a, a_port, packets_ab, octets_ab), (b, b_port, packets_ba, octets_ba) = ends[::-1] if initiator else ends
            yield {
                "protocol": flow.protocol,
                "a": a,
                "a_port": a_port,
                "b": b,
                "b_port": b_port,
                "packets_ab": packets_ab,
                "packets_ba": packets_ba,
                "octets_ab": octets_ab,
                "octets_ba": octets_ba,
                "runtime": runtime,
            }

    def close(self) -> None:
        """Let the database go."""
        self._database.close()


def sections(outcome: Outcome, *, truncated: bool) -> dict[str, Any]:
    """Every section but ``flows``."""
    return {
        "packets": {
            "in": outcome.packets_in,
            "created": outcome.created,
            "out": outcome.packets_out,
            "absorbed": outcome.absorbed,
            "dropped": outcome.dropped,
            "buffered": outcome.buffered,
        },
        "octets": {"in": outcome.octets_in, "out": outcome.octets_out},
        "migrations": {
            "flows": outcome.migrations.flows,
            "completed": outcome.migrations.completed,
            "failed": outcome.migrations.failed,
            "buffered_max": outcome.buffered_max,
        },
        "recoveries": {"flows": 0},
        "lost_with_node": {},
        "in_doubt": 0,
        "unprotected": {"packets": 0, "seconds": 0.0},
        "truncated": truncated,
    }


def write_report(file: TextIO, body: dict[str, Any], flows: FlowRows | None) -> None:
    """JSON with sorted keys; flows one a line, as they come from the disk. ``flows`` None: no such section."""
    names = sorted([*body, *(["flows"] if flows is not None else [])])
    file.write("{")
    for index, name in enumerate(names):
        file.write(f"{',' if index else ''}\n {json.dumps(name)}: ")
        if name == "flows" and flows is not None:
            file.write("[")
            rows = (json.dumps(row, sort_keys=True) for row in flows.rows())
            file.writelines(f"{',' if number else ''}\n  {row}" for number, row in enumerate(rows))
            file.write("\n ]")
        else:
            file.write(json.dumps(body[name], sort_keys=True))
    file.write("\n}\n")
