"""The replay report (DESIGN section 13): flow rows kept on disk, and JSON written row by row.

A replay may see more flows than fit in memory, so rows go into a temporary SQLite database as they come and out of it
in order of their first packets. Rows of one 5-tuple that came back after it had expired are added up here.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TextIO

from nfactor.cluster.replay import Outcome
from nfactor.dataplane.nf import NF
from nfactor.functions.http import Http
from nfactor.functions.http_state import HttpRequest, HttpResponse
from nfactor.functions.ids import Alert, Ids
from nfactor.functions.monitor import FlowRow, Monitor
from nfactor.packet.cluster_frame import KEY_OCTETS
from nfactor.packet.flow_key import FlowKey

_CREATE = """
CREATE TABLE requests (mark INTEGER, method TEXT, host TEXT, uri TEXT);
CREATE TABLE responses (mark INTEGER, status INTEGER);
CREATE TABLE alerts (sid INTEGER PRIMARY KEY, count INTEGER);
CREATE TABLE flows (
  key BLOB PRIMARY KEY, initiator INTEGER, first INTEGER,
  packets_0 INTEGER, packets_1 INTEGER, octets_0 INTEGER, octets_1 INTEGER, runtime TEXT
) WITHOUT ROWID;
"""
_ADD_FLOW = """
INSERT INTO flows VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  initiator = CASE WHEN excluded.first < first THEN excluded.initiator ELSE initiator END,
  runtime = CASE WHEN excluded.first < first THEN runtime ELSE excluded.runtime END,
  first = min(first, excluded.first),
  packets_0 = packets_0 + excluded.packets_0, packets_1 = packets_1 + excluded.packets_1,
  octets_0 = octets_0 + excluded.octets_0, octets_1 = octets_1 + excluded.octets_1
"""

_ADD_ALERT = "INSERT INTO alerts VALUES (?, 1) ON CONFLICT (sid) DO UPDATE SET count = count + 1"


class Rows:
    """Everything that network functions emitted. Flows are stored by direction of the key, so that they add up."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a private file, in memory until it grows, gone when closed
        self._database.executescript(_CREATE)

    def add(self, record: Any, runtime: str) -> None:
        """One record that came from that runtime; those of network functions of the user's own are none of ours."""
        match record:
            case FlowRow():
                self._add_flow(record, runtime)
            case HttpRequest():
                values = (record.mark, _text(record.method), _text(record.host), _text(record.uri))
                self._database.execute("INSERT INTO requests VALUES (?, ?, ?, ?)", values)
            case HttpResponse():
                self._database.execute("INSERT INTO responses VALUES (?, ?)", (record.mark, record.status))
            case Alert():
                self._database.execute(_ADD_ALERT, (record.sid,))

    def _add_flow(self, row: FlowRow, runtime: str) -> None:
        packets, octets = (row.packets_ab, row.packets_ba), (row.octets_ab, row.octets_ba)
        if row.initiator:
            packets, octets = packets[::-1], octets[::-1]
        self._database.execute(
            _ADD_FLOW, (row.key.ljust(KEY_OCTETS, b"\0"), row.initiator, row.first_mark, *packets, *octets, runtime)
        )

    def count(self, table: Literal["flows", "requests", "responses"]) -> int:
        """Rows so far, a 5-tuple that came back counted once."""
        count: int = self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return count

    def flows(self) -> Iterator[dict[str, Any]]:
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

    def requests(self) -> Iterator[dict[str, Any]]:
        """HTTP requests in order of the frames that completed them."""
        for method, host, uri in self._database.execute("SELECT method, host, uri FROM requests ORDER BY mark, rowid"):
            yield {"method": method, "host": host, "uri": uri}

    def responses(self) -> Iterator[dict[str, Any]]:
        """HTTP responses, likewise."""
        for (status,) in self._database.execute("SELECT status FROM responses ORDER BY mark, rowid"):
            yield {"status": status}

    def alerts(self) -> Iterator[dict[str, Any]]:
        """How often each rule of the IDS alerted, by its number."""
        for sid, count in self._database.execute("SELECT sid, count FROM alerts ORDER BY sid"):
            yield {"sid": sid, "count": count}

    def close(self) -> None:
        """Let the database go."""
        self._database.close()


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


def sections(outcome: Outcome, *, truncated: bool) -> dict[str, Any]:
    """Every section but those that network functions fill."""
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
        "recoveries": {"flows": sum(event.flows for event in outcome.recovered)},
        "lost_with_node": outcome.lost,
        "in_doubt": outcome.in_doubt,
        "unprotected": {"packets": outcome.unprotected_packets, "seconds": round(outcome.unprotected_s, 6)},
        "truncated": truncated,
        **({"counters": outcome.nf_counters} if outcome.nf_counters else {}),
    }


Section = Any
"""What stands under a name of the report: a value, a ``RowList``, or a dict of row lists."""


class RowList:
    """Rows that are written as they come."""

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self.rows = rows


def row_sections(rows: Rows, functions: Sequence[NF]) -> dict[str, Section]:
    """The sections that network functions fill; one whose function is not in the chain is absent."""
    found: dict[str, Section] = {}
    if any(isinstance(function, Monitor) for function in functions):
        found["flows"] = RowList(rows.flows())
    if any(isinstance(function, Http) for function in functions):
        found["http"] = {"requests": RowList(rows.requests()), "responses": RowList(rows.responses())}
    if any(isinstance(function, Ids) for function in functions):
        found["alerts"] = RowList(rows.alerts())
    return found


def write_report(file: TextIO, body: dict[str, Section]) -> None:
    """JSON with sorted keys; rows one a line, as they come from the disk."""
    _write_value(file, body)
    file.write("\n")


def _write_value(file: TextIO, value: Section) -> None:
    if isinstance(value, RowList):
        file.write("[")
        lines = (json.dumps(row, sort_keys=True) for row in value.rows)
        file.writelines(f"{',' if number else ''}\n  {line}" for number, line in enumerate(lines))
        file.write("]")
    elif isinstance(value, dict) and value:
        for number, name in enumerate(sorted(value)):
            file.write(f"{',' if number else '{'}\n {json.dumps(name)}: ")
            _write_value(file, value[name])
        file.write("}")
    else:
        file.write(json.dumps(value))
