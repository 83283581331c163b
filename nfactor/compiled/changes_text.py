"""The text of how a chain's states travel: what copies the parts of a row into a change, and back."""

from nfactor.compiled import layout
from nfactor.dataplane.changes import Part, Run


def changes_text(parts: tuple[Part, ...]) -> str:
    """``every_part``, ``write_parts`` and ``read_parts`` (see ``chain_stub``)."""
    write = ["@inlined", "def write_parts(row, at, parts) -> int:"]
    read = ["@inlined", "def read_parts(row, at, end, parts) -> int:"]
    for part in parts:
        write.append(f"    if parts & {part.bit}:")
        read.append(f"    if parts & {part.bit}:")
        for run in part.runs:
            write += [f"        {line}" for line in (_write_octets(run) if run.bounded else _write(run))]
            read += [f"        {line}" for line in (_read_octets(run) if run.bounded else _read(run))]
    every = ["@inlined", "def every_part() -> int:", f"    return {sum(part.bit for part in parts)}"]
    return "\n".join([*write, "    return at", "", "", *read, "    return at", "", "", *every, ""])


def _write(run: Run) -> list[str]:
    return [f"copy_octets(at, row + {layout.ROW_STATES + run.offset}, {run.octets})", f"at += {run.octets}"]


def _write_octets(run: Run) -> list[str]:
    field = layout.ROW_STATES + run.offset
    return [
        f"used = min(ld_u16(row + {field}), {run.octets})",
        "st_16(at, used)",
        f"copy_octets(at + 2, row + {field + 2}, used)",
        "at += 2 + used",
    ]


def _read(run: Run) -> list[str]:
    return [
        f"if end - at < {run.octets}:",
        "    return -1",
        f"copy_octets(row + {layout.ROW_STATES + run.offset}, at, {run.octets})",
        f"at += {run.octets}",
    ]


def _read_octets(run: Run) -> list[str]:
    field = layout.ROW_STATES + run.offset
    return [
        "if end - at < 2:",
        "    return -1",
        "used = ld_u16(at)",
        f"if used > {run.octets} or end - at < 2 + used:",
        "    return -1",
        f"copy_octets(row + {field}, at, 2 + used)",
        f"clear_octets(row + {field + 2} + used, {run.octets} - used)",
        "at += 2 + used",
    ]
