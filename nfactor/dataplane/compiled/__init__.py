"""The compiled engine: the chain's NFs and the burst loop around them as machine code.

``values`` … ``program`` translate NFs to a small dialect of Python in which every number is a 64-bit word and every
field a load or store; ``cache`` has numba compile that text, once; ``machine`` holds the few operations that the dialect
needs; ``table``, ``parse`` and ``loop`` are the engine's own part of the module; ``engine`` is the ``Engine``.
"""
