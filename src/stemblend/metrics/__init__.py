"""How near estimates are to the true stems: BSS Eval and its relatives."""
