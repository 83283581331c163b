"""Where things lie in memory that compiled code and Python share. Offsets in octets; words are 64-bit.

One *context* per engine holds everything that the loop needs; its address is the first argument of all compiled code.
Behind the words named here lie the *slots*: address and length of each table that the NFs use.

A *row* is one flow: the engine's own part, one cache line that every packet reads; what replication counts and the
epoch; then the NFs' states. The order by age lies apart (``COLD``). A *packet record* holds what the headers of one
packet of a block say.
"""

from typing import Final

from nfactor.packet.cluster_frame import KEY_OCTETS

WORD: Final = 8
WORD_MAX: Final = (1 << 63) - 1

# The context.
(
    FAIL_SITE,
    FAIL_FIRST_SITE,
    FAIL_NF,
    FAIL_PACKET,
    FAIL_RECORD,
    FAIL_ROW,
    ROWS,
    STRIDE,
    COLD,
    INDEX,
    INDEX_MASK,
    OLD_INDEX,
    OLD_MASK,
    OLD_CURSOR,
    ROWS_USED,
    ROWS_TOUCHED,
    FREE,
    FLOWS_MAX,
    OLDEST,
    NEWEST,
    ACTIVE,
    CREATED,
    EXPIRED,
    REFUSED,
    SCAN,
    SCAN_END,
    CLOCK,
    COMMON_CLOCK,
    TEMPLATE,
    STATE_SIZE,
    DATA,
    DATA_SIZE,
    PACKETS,
    EMITTED,
    EMITTED_USED,
    EMITTED_SIZE,
    ERRORS,
    FIVE_TUPLE,
    PLAIN_PACKET,
    PLAIN_END,
    MAKE_INTEGER,
    SAVE_THREAD,
    RESTORE_THREAD,
    BLOCK,
    GUESSES,
    COLUMNS,
) = (WORD * index for index in range(46))
SECRETS: Final = WORD * 48  # six words
TIME_OUTS: Final = WORD * 54  # four words: TCP idle, TCP closed, UDP, others
GROW_AT: Final = WORD * 64
"""With more rows in use than this, the index has to grow."""
STOPPING: Final = WORD * 65
"""Whether somebody waits for the burst to end, at whichever packet; set by other threads."""
SLOTS: Final = WORD * 72
SLOT_OCTETS: Final = 16
SLOTS_MAX: Final = 256
CONTEXT_OCTETS: Final = SLOTS + SLOT_OCTETS * SLOTS_MAX

HEADER_OCTETS: Final = 24
"""Octets of ``chain.FlowHeader``, in front of the states of a record."""

# A row.
ROW_LAST_NS: Final = KEY_OCTETS
ROW_PACKETS: Final = 56
ROW_PHASE: Final = 60
ROW_INITIATOR: Final = 61
ROW_CLOSING: Final = 62
ROW_DIRTY: Final = 63
ROW_LAG: Final = 64
"""Packets since somebody asked what they had changed (``compiled.lag``)."""
ROW_EPOCH: Final = 68
ROW_STATES: Final = 72

# What lies apart, per row: the rows that came next before it and next after it.
COLD_OLDER: Final = 0
COLD_NEWER: Final = 4
COLD_OCTETS: Final = 8
NO_ROW: Final = 0xFFFF_FFFF

# The columns of the burst at hand: addresses.
BURST_OFFSETS, BURST_LENGTHS, BURST_WIRE_LENGTHS, BURST_TIMES, BURST_MARKS = (WORD * index for index in range(5))
TIME_OUT_LEAST: Final = WORD * 47
"""The shortest of them: most packets come sooner, and need no other looked up."""
FOLLOWS: Final = WORD * 46
"""Whether to note which rows packets touch."""
BURST_SLOTS: Final = WORD * 58
"""In the context: where in a ``Burst`` object its six columns are, in order."""

# A numpy array object (``PyArrayObject_fields``): checked when code is loaded.
ARRAY_DATA: Final = 16
ARRAY_DIMENSIONS: Final = 32
ARRAY_STRIDES: Final = 40
ARRAY_FLAGS: Final = 64
ARRAY_WRITEABLE: Final = 0x0400

GIL_PACKETS: Final = 256
"""From so many packets on, other threads of Python may run while a burst is processed."""

# A packet record.
BLOCK_PACKETS: Final = 64
"""Packets that are looked up together: enough to hide the memory's latency, few enough to stay in the nearest cache."""
PK_KEY: Final = 0
PK_TIME: Final = 48
PK_MARK: Final = 56
PK_START: Final = 64
PK_END: Final = 68
PK_L3: Final = 72
PK_L4: Final = 76
PK_PAYLOAD: Final = 80
PK_PAYLOAD_END: Final = 84
PK_LENGTH: Final = 88
PK_FRAGMENT_ID: Final = 92
PK_ETHERTYPE: Final = 96
PK_VLAN: Final = 98
PK_INNER_VLAN: Final = 100
PK_LINKTYPE: Final = 102
PK_SOURCE_PORT: Final = 104
PK_TARGET_PORT: Final = 106
PK_VERSION: Final = 108
PK_PROTOCOL: Final = 109
PK_TCP_FLAGS: Final = 110
PK_DIRECTION: Final = 111
PK_FOREIGN: Final = 112
PK_FRAGMENT: Final = 113
PK_MORE_FRAGMENTS: Final = 114
PK_CODE: Final = 115
"""Why the packet is malformed, or 0."""
PK_KEY_DIRECTION: Final = 116
PK_READ: Final = 117
"""1 once the headers are read; 0 if that is left to the reference parser."""
PK_HASH: Final = 120
PK_OCTETS: Final = 128

# An emitted record: its flow's key, the number of its class, its length, then its octets.
EV_KEY: Final = 0
EV_CLASS: Final = KEY_OCTETS
EV_OCTETS: Final = 52
EV_RECORD: Final = 56
EMITTED_OCTETS: Final = 1 << 22
EMIT_RESERVE: Final = 1 << 20
"""So much room there is for what the packets of a block emit, at least; one that emits more is an error of its NF."""
