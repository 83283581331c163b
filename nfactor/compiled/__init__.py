"""The compiled engine: the chain's NFs and the burst loop around them as machine code.

``source`` … ``text`` translate NFs to a small dialect of Python in which every number is a 64-bit word and every field
a load or a store. The engine's own part (``table``, ``parse``, ``loop``, ``sets``) is written in the same dialect, on
the operations of ``machine``, ``arithmetic`` and ``helpers``. ``codegen`` compiles it all with LLVM, ``native`` keeps
and loads the code, and ``engine`` is the ``Engine``.
"""
